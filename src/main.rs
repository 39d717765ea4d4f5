fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|a| a == "probe") {
        std::process::exit(corten::commands::probe::run(&args[1..]));
    }
}
