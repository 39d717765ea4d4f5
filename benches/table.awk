# table.awk: what lifecycle.c printed, as one table: rows are operations, columns are runtimes, then the first runtime's
# ratio to each other one. Variables: config, rest, n, layout, names (runtimes in order, separated by blanks).
BEGIN { FS = "\t" }
$1 == "time" { time[$2, $3] = $6; failed[$2, $3] = $5 }
$1 == "rss" { rss[$2] = $3 }
$1 == "init" { hwm[$2] = $3; pss[$2] = $4 }
$1 == "out" { note[++notes] = $2 " of " $3 " is left out: " $4 }

function cell(value, format) { return value == "" || value <= 0 ? "-" : sprintf(format, value) }
function ratios(values, prefix,    i, a, b, line) {
    for (i = 2; i <= count; i++) {
        a = values[prefix name[1]]; b = values[prefix name[i]]
        line = line sprintf("%14s", a > 0 && b > 0 ? sprintf("%.2f", a / b) : "-")
    }
    return line
}
function row(title, values, prefix, format,    i, line) {
    line = sprintf("%-22s", title)
    for (i = 1; i <= count; i++) line = line sprintf("%11s", cell(values[prefix name[i]], format))
    print line (count > 1 ? "  " ratios(values, prefix) : "")
}
END {
    count = split(names, name, " ")
    printf "\nconfig %s, cgroup %s, %s, n=%d\n", config, layout, (rest > 0 ? "COLD (" rest " ms of rest before each command)" : "HOT (back to back)"), n
    line = sprintf("%-22s", "ms")
    for (i = 1; i <= count; i++) line = line sprintf("%11s", name[i])
    if (count > 1) line = line "  "
    for (i = 2; i <= count; i++) line = line sprintf("%14s", name[1] "/" name[i])
    print line
    split("run create start state exec kill delete life", verb, " ")
    title["run"] = "run of true"; title["life"] = "create+start+delete"
    for (v = 1; v in verb; v++) row(((verb[v] in title) ? title[verb[v]] : verb[v]), time, verb[v] SUBSEP, "%.2f")
    row("peak RSS, KiB", rss, "", "%d")
    row("waiting init, RSS KiB", hwm, "", "%d")
    row("waiting init, PSS KiB", pss, "", "%d")
    for (key in failed) if (failed[key] > 0) { split(key, part, SUBSEP); note[++notes] = part[1] " of " part[2] " failed " failed[key] " times after it had worked" }
    for (i = 1; i <= notes; i++) print "  note: " note[i]
}
