//! Reads the files under `src/` the way a reviewer does: without comments, without text, without unit tests. Made for
//! questions like "who names what", so it knows modules, imports and functions, and no more of Rust than that.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use regex_lite::Regex;

/// A source file of the product.
pub struct Source {
    /// Relative to `src/`: `rootfs/apply/mask.rs`.
    pub path: String,
    /// The module, without the crate: `rootfs::apply::mask`; empty for lib.rs.
    pub module: String,
    /// As it is written.
    pub raw: String,
    /// The same lines with comments, strings and unit tests blanked out.
    pub code: String,
}

/// A function and its body, in [`Source::code`].
pub struct Function {
    pub name: String,
    pub body: std::ops::Range<usize>,
}

/// A name that a file brings in: `as_name` stands for `path` (`rootfs::Op`).
#[derive(Clone, Debug)]
pub struct Import {
    pub as_name: String,
    pub path: Vec<String>,
}

/// Every file under `src/` but those that only tests compile.
pub fn read_all() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    let mut sources: Vec<Source> = paths.iter().map(|path| Source::read(&root, path)).collect();
    let test_modules: Vec<String> = sources.iter().flat_map(Source::test_modules).collect();
    sources.retain(|source| !test_modules.contains(&source.module));
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

impl Source {
    fn read(root: &Path, path: &Path) -> Source {
        let path_text = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let stem = path_text.trim_end_matches(".rs").trim_end_matches("/mod");
        let module = match stem {
            "lib" | "main" => String::new(),
            stem => stem.replace('/', "::"),
        };
        let raw = fs::read_to_string(path).unwrap();
        let code = without_tests(&blank(&raw));
        Source { path: path_text, module, raw, code }
    }

    /// Modules behind `#[cfg(test)] mod name;`, as full paths.
    fn test_modules(&self) -> Vec<String> {
        let declared = Regex::new(r"#\[cfg\(test\)\]\s*(?:pub )?mod (\w+);").unwrap();
        let name = |name: &str| join(&self.module, name);
        declared.captures_iter(&self.raw).map(|found| name(&found[1])).collect()
    }

    /// The line number of a place in `code`.
    pub fn line(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }

    /// `path:line` of a place in `code`.
    pub fn place(&self, at: usize) -> String {
        format!("src/{}:{}", self.path, self.line(at))
    }

    /// Functions in the order of the text; nested ones are found as well.
    pub fn functions(&self) -> Vec<Function> {
        let head = Regex::new(r"\bfn (\w+)").unwrap();
        let mut functions = Vec::new();
        for found in head.captures_iter(&self.code) {
            let name = found.get(1).unwrap();
            let Some(open) = end_of_head(&self.code, name.end()) else { continue };
            if self.code.as_bytes()[open] == b'{' {
                functions
                    .push(Function { name: name.as_str().into(), body: name.start()..end_of_block(&self.code, open) });
            }
        }
        functions
    }

    /// The innermost function around a place in `code`.
    pub fn function_at(&self, at: usize) -> Option<Function> {
        self.functions().into_iter().filter(|function| function.body.contains(&at)).min_by_key(|f| f.body.len())
    }

    /// `code` with these functions blanked out.
    pub fn without(&self, names: &[&str]) -> String {
        let mut code = self.code.clone();
        for function in self.functions().iter().filter(|function| names.contains(&function.name.as_str())) {
            code = blanked(&code, function.body.clone());
        }
        code
    }

    /// What the file brings in from this crate; other crates are named by their first segment.
    pub fn imports(&self) -> Vec<Import> {
        let mut imports = Vec::new();
        for found in Regex::new(r"\buse ([^;]+);").unwrap().captures_iter(&self.code) {
            let tree: String = found[1].split_whitespace().collect::<Vec<_>>().join(" ");
            expand(&[], &tree, &mut imports);
        }
        for import in &mut imports {
            import.path = absolute(&self.module, &import.path);
        }
        imports
    }
}

/// Paths relative to `crate`: `crate::`, `super::` and `self::` are resolved from the module they stand in.
pub fn absolute(module: &str, path: &[String]) -> Vec<String> {
    let mut base: Vec<String> = module.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
    let mut rest = path;
    let mut relative = false;
    while let Some((first, tail)) = rest.split_first() {
        match first.as_str() {
            "crate" => base.clear(),
            "super" => drop(base.pop()),
            "self" => {}
            _ => break,
        }
        relative = true;
        rest = tail;
    }
    if relative { [base, rest.to_vec()].concat() } else { path.to_vec() }
}

fn expand(prefix: &[String], tree: &str, imports: &mut Vec<Import>) {
    let tree = tree.trim();
    if let Some(open) = tree.find('{') {
        let group = &tree[open + 1..tree.rfind('}').unwrap_or(tree.len())];
        let prefix = [prefix.to_vec(), segments(&tree[..open])].concat();
        for part in split_group(group) {
            expand(&prefix, &part, imports);
        }
        return;
    }
    let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias.trim())));
    let mut path = [prefix.to_vec(), segments(path)].concat();
    if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
        path.pop();
    }
    let Some(last) = path.last() else { return };
    imports.push(Import { as_name: alias.unwrap_or(last).to_owned(), path });
}

fn segments(path: &str) -> Vec<String> {
    path.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Splits at the commas outside of inner braces.
fn split_group(group: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(c);
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// Modules by path, so that a name can be led back to the file that defines it.
pub struct Modules<'a>(BTreeMap<&'a str, &'a Source>);

impl<'a> Modules<'a> {
    pub fn new(sources: &'a [Source]) -> Modules<'a> {
        Modules(sources.iter().filter(|source| source.path != "main.rs").map(|s| (s.module.as_str(), s)).collect())
    }

    /// The file that a path leads to: its longest part that is a module, with what is left of it.
    pub fn resolve(&self, path: &[String]) -> Option<(&'a Source, Vec<String>)> {
        (1..=path.len()).rev().find_map(|length| {
            let source = self.0.get(path[..length].join("::").as_str())?;
            Some((*source, path[length..].to_vec()))
        })
    }

    /// The files that some code of a file leads to, with the rest of each path: through its imports where the code uses
    /// them, and through paths that are written out. `code` may be a part of the file's.
    pub fn mentions(&self, source: &Source, code: &str) -> Vec<(&'a Source, Vec<String>)> {
        let body = Regex::new(r"\buse [^;]+;").unwrap().replace_all(code, "").into_owned();
        let imports = source.imports();
        let mut found = Vec::new();
        for import in imports.iter().filter(|import| names(&body, &import.as_name) || import.as_name == "*") {
            found.extend(self.resolve(&import.path));
        }
        for path in Regex::new(r"\b[A-Za-z_]\w*(?:::[A-Za-z_]\w*)+").unwrap().find_iter(&body) {
            let path = segments(path.as_str());
            let path = match imports.iter().find(|import| import.as_name == path[0]) {
                Some(import) => [import.path.clone(), path[1..].to_vec()].concat(),
                // A child module needs no import.
                None if self.0.contains_key(join(&source.module, &path[0]).as_str()) => {
                    segments(&join(&source.module, &path.join("::")))
                }
                None => absolute(&source.module, &path),
            };
            found.extend(self.resolve(&path));
        }
        found.retain(|(file, _)| file.path != source.path);
        found
    }
}

fn join(module: &str, name: &str) -> String {
    if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") }
}

/// Whether the word stands in the code.
pub fn names(code: &str, word: &str) -> bool {
    find_word(code, word).is_some()
}

/// Where a piece of code stands that isn't part of a longer word on its left, nor, if it ends in one, on its right.
pub fn find_word(code: &str, word: &str) -> Option<usize> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let (first, last) = (word.starts_with(is_word), word.ends_with(is_word));
    code.match_indices(word).map(|(at, _)| at).find(|&at| {
        let left = code[..at].ends_with(is_word);
        let right = code[at + word.len()..].starts_with(is_word);
        !(first && left || last && right)
    })
}

/// Blanks comments, strings and characters, so that only code is left. Lines stay where they are.
fn blank(raw: &str) -> String {
    let token = [
        r"//[^\n]*",
        r##"\b[bc]?r#"(?s:.*?)"#"##,
        r#"\b[bc]?"(?s:\\.|[^"\\])*""#,
        r#""(?s:\\.|[^"\\])*""#,
        r"b?'(?:\\(?:x[0-9a-fA-F]{2}|u\{[^}]*\}|.)|[^'\\])'",
    ];
    let token = Regex::new(&token.join("|")).unwrap();
    let mut code = String::with_capacity(raw.len());
    let mut done = 0;
    for found in token.find_iter(raw) {
        code.push_str(&raw[done..found.start()]);
        code.push_str(&blanks(found.as_str()));
        done = found.end();
    }
    code + &raw[done..]
}

fn without_tests(code: &str) -> String {
    let mut code = code.to_owned();
    let mut from = 0;
    while let Some(at) = code[from..].find("#[cfg(test)]").map(|at| at + from) {
        let after = at + "#[cfg(test)]".len();
        let open = end_of_head(&code, after).unwrap_or(code.len() - 1);
        let end = if code.as_bytes()[open] == b'{' { end_of_block(&code, open) } else { open + 1 };
        code = blanked(&code, at..end);
        from = end;
    }
    code
}

fn blanked(text: &str, range: std::ops::Range<usize>) -> String {
    format!("{}{}{}", &text[..range.start], blanks(&text[range.clone()]), &text[range.end..])
}

/// As many bytes with nothing in them but the line ends.
fn blanks(text: &str) -> String {
    text.bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }).collect()
}

/// The `{` or `;` after the head of an item; a `;` inside brackets belongs to an array's type.
fn end_of_head(code: &str, from: usize) -> Option<usize> {
    let mut depth = 0;
    code[from..].char_indices().find_map(|(at, c)| {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' | ';' if depth == 0 => return Some(from + at),
            _ => {}
        }
        None
    })
}

/// Where the block that opens at `open` has ended.
fn end_of_block(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, c) in code[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open + at + 1;
        }
    }
    code.len()
}

#[test]
fn comments_strings_and_tests_are_no_code() {
    let raw = "let a = \"std::fs\"; // unwrap()\nlet b = 'x';\n#[cfg(test)]\nmod tests { fn f() { panic!() } }\nlet c = br#\"String\"#;\n";
    let code = without_tests(&blank(raw));
    assert!(!["std::fs", "unwrap", "x", "panic", "String"].iter().any(|gone| code.contains(gone)), "{code}");
    assert!(code.contains("let a") && code.contains("let b") && code.contains("let c"));
    assert_eq!((code.len(), code.lines().count()), (raw.len(), raw.lines().count()));
}

#[test]
fn imports_are_expanded_and_led_back_to_the_crate() {
    let mut imports = Vec::new();
    expand(&[], "crate::a::{self, b::{C, d as e}, F}", &mut imports);
    let shown: Vec<_> = imports.iter().map(|import| format!("{}={}", import.as_name, import.path.join("::"))).collect();
    assert_eq!(shown, ["a=crate::a", "C=crate::a::b::C", "e=crate::a::b::d", "F=crate::a::F"]);
    assert_eq!(absolute("x::y::z", &segments("super::super::w::V")).join("::"), "x::w::V");
    assert_eq!(absolute("x::y", &segments("std::fs")).join("::"), "std::fs");
}

#[test]
fn a_word_is_more_than_a_run_of_letters() {
    assert!(names("let x: String;", "String"));
    assert!(!names("let x: CString;", "String"));
    assert!(names("a.unwrap()", ".unwrap("));
    assert!(!names("a.unwrap_or(b)", ".unwrap("));
}
