//! House rules that no other tool checks. Each is seen to fail on a bad snippet.

use std::path::PathBuf;

use capi_tests::exports::{self, Export};
use capi_tests::paths;
use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_COLUMNS_MAX: usize = 100;

/// Functions that may be longer than the others, each with its limit and why.
/// A function that became shorter leaves the list.
const LONG_FUNCTIONS: [(&str, &str, usize, &str); 0] = [];

/// One file of the project that people write.
struct Source {
    /// From the top of the repository.
    path: String,
    text: String,
}

impl Source {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

fn sources() -> Vec<Source> {
    let top = paths::repository();
    let mut files: Vec<PathBuf> = [
        "Makefile",
        "build.rs",
        "Cargo.toml",
        ".ci/check",
        ".ci/install-deps",
        ".ci/run",
    ]
    .map(|name| top.join(name))
    .to_vec();
    for directory in ["src", "capi-tests", "examples-c", "pkgconfig", "include"] {
        for suffix in ["rs", "c", "cc", "h", "sh", "toml", "map", "in"] {
            files.extend(paths::files(&top.join(directory), suffix));
        }
    }
    files.retain(|file| !file.ends_with(capi_tests::header::PATH));
    assert!(files.len() > 50, "only {} files were found", files.len());
    let source = |file: &PathBuf| {
        let path = paths::shown(file);
        Source {
            text: paths::read(&path),
            path,
        }
    };
    files.iter().map(source).collect()
}

/// Runs one rule over all files and fails with everything it found.
fn enforce(rule: fn(&Source) -> Vec<String>) {
    let found: Vec<_> = sources().iter().flat_map(rule).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

fn rust(path: &str, text: &str) -> Source {
    Source {
        path: path.to_owned(),
        text: text.to_owned(),
    }
}

// --- length --------------------------------------------------------------------

fn long_file(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    match lines > FILE_LINES_MAX {
        true => vec![format!("{}: {lines} lines", source.path)],
        false => Vec::new(),
    }
}

fn long_lines(source: &Source) -> Vec<String> {
    let numbered = source.text.lines().zip(1..);
    let long = numbered.filter(|(line, _)| line.chars().count() > LINE_COLUMNS_MAX);
    long.map(|(line, number)| format!("{}:{number}: {} columns", source.path, line.chars().count()))
        .collect()
}

#[test]
fn files_are_short() {
    enforce(long_file);
}

#[test]
fn lines_are_short() {
    enforce(long_lines);
}

#[test]
fn a_long_file_is_reported() {
    assert!(long_file(&rust("a.rs", &"\n".repeat(800))).is_empty());
    assert_eq!(
        long_file(&rust("a.rs", &"\n".repeat(801))),
        ["a.rs: 801 lines"]
    );
}

#[test]
fn a_long_line_is_reported() {
    // Columns, not bytes.
    assert!(long_lines(&rust("a.rs", &"…".repeat(100))).is_empty());
    let text = format!("short\n{}", "x".repeat(101));
    assert_eq!(long_lines(&rust("a.rs", &text)), ["a.rs:2: 101 columns"]);
}

// --- functions -----------------------------------------------------------------

struct Functions {
    found: Vec<(String, usize, usize)>,
}

impl Functions {
    fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let first = signature.span().start().line;
        let last = block.span().end().line;
        self.found
            .push((signature.ident.to_string(), first, last - first + 1));
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.add(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

fn long_functions(source: &Source) -> Vec<String> {
    if !source.is_rust() {
        return Vec::new();
    }
    let parsed = syn::parse_file(&source.text).expect("it is Rust");
    let mut functions = Functions { found: Vec::new() };
    functions.visit_file(&parsed);
    let limit = |name: &str| {
        let mut listed = LONG_FUNCTIONS.iter();
        let entry =
            listed.find(|(path, function, _, _)| (*path, *function) == (&source.path, name));
        entry.map_or(FUNCTION_LINES_MAX, |(_, _, limit, _)| *limit)
    };
    let long = functions
        .found
        .iter()
        .filter(|(name, _, lines)| *lines > limit(name));
    long.map(|(name, line, lines)| format!("{}:{line}: {name}: {lines} lines", source.path))
        .collect()
}

#[test]
fn functions_are_short() {
    enforce(long_functions);
}

#[test]
fn a_long_function_is_reported() {
    let body = |lines: usize| format!("fn f() {{\n{}}}\n", "    g();\n".repeat(lines));
    assert!(long_functions(&rust("a.rs", &body(68))).is_empty());
    assert_eq!(
        long_functions(&rust("a.rs", &body(69))),
        ["a.rs:1: f: 71 lines"]
    );
    let method = format!("impl T {{\n{}}}\n", body(69));
    assert_eq!(
        long_functions(&rust("a.rs", &method)),
        ["a.rs:2: f: 71 lines"]
    );
}

// --- words ---------------------------------------------------------------------

/// Every identifier of the code, also those in macros, with its line and the
/// character behind it. Comments and texts have none.
fn identifiers(stream: TokenStream, found: &mut Vec<(String, usize, char)>) {
    let mut tokens = stream.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Group(group) => identifiers(group.stream(), found),
            TokenTree::Ident(ident) => {
                let behind = match tokens.peek() {
                    Some(TokenTree::Punct(punct)) => punct.as_char(),
                    _ => ' ',
                };
                found.push((ident.to_string(), ident.span().start().line, behind));
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// Lines of a Rust file with an identifier that `banned` says is wrong there.
fn wrong_identifiers(source: &Source, banned: impl Fn(&str, char) -> bool) -> Vec<String> {
    if !source.is_rust() {
        return Vec::new();
    }
    let mut found = Vec::new();
    identifiers(source.text.parse().expect("it is Rust"), &mut found);
    let wrong = found
        .iter()
        .filter(|(word, _, behind)| banned(word, *behind));
    wrong
        .map(|(word, line, _)| format!("{}:{line}: {word}", source.path))
        .collect()
}

/// One module speaks to the ring, so that what the kernel may touch is owned in
/// one place.
fn ring_outside_its_module(source: &Source) -> Vec<String> {
    match source.path.starts_with("src/core/io/uring") {
        true => Vec::new(),
        false => wrong_identifiers(source, |word, _| word == "io_uring"),
    }
}

/// What is exported is promised, so all of it is in one place.
fn export_outside_capi(source: &Source) -> Vec<String> {
    match source.path.starts_with("src/capi") || source.path.starts_with("src/preload") {
        true => Vec::new(),
        false => wrong_identifiers(source, |word, _| {
            matches!(word, "no_mangle" | "export_name")
        }),
    }
}

fn unfinished_code(source: &Source) -> Vec<String> {
    let unfinished = |word: &str, behind: char| {
        behind == '!' && matches!(word, "todo" | "unimplemented" | "dbg")
    };
    wrong_identifiers(source, unfinished)
}

/// Notes that say that a thing is not done; written in halves to pass here.
fn unfinished_notes(source: &Source) -> Vec<String> {
    let notes = [
        concat!("FIX", "ME"),
        concat!("X", "XX"),
        concat!("TO", "DO"),
        concat!("HA", "CK"),
    ];
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    let noted = |line: &str| {
        line.split(|c| !is_word(c))
            .any(|word| notes.contains(&word))
    };
    let numbered = source.text.lines().zip(1..).filter(|(line, _)| noted(line));
    numbered
        .map(|(line, number)| format!("{}:{number}: {}", source.path, line.trim()))
        .collect()
}

#[test]
fn only_its_module_uses_the_ring() {
    enforce(ring_outside_its_module);
}

#[test]
fn only_capi_exports() {
    // The tests of the guard have attributes in snippets, which are texts.
    enforce(export_outside_capi);
}

#[test]
fn nothing_is_left_unfinished() {
    enforce(unfinished_code);
    enforce(unfinished_notes);
}

#[test]
fn a_ring_elsewhere_is_reported() {
    let text = "// io_uring is fine here\nuse io_uring::IoUring;\nfn f() { g!(io_uring::x()) }\n";
    assert!(ring_outside_its_module(&rust("src/core/io/uring/ring.rs", text)).is_empty());
    let found = ring_outside_its_module(&rust("src/core/lib.rs", text));
    assert_eq!(
        found,
        ["src/core/lib.rs:2: io_uring", "src/core/lib.rs:3: io_uring"]
    );
}

#[test]
fn an_export_elsewhere_is_reported() {
    let text = "#[unsafe(no_mangle)]\npub extern \"C\" fn f() {}\n";
    assert!(export_outside_capi(&rust("src/capi/read.rs", text)).is_empty());
    assert_eq!(
        export_outside_capi(&rust("src/core/a.rs", text)),
        ["src/core/a.rs:1: no_mangle"]
    );
}

#[test]
fn unfinished_work_is_reported() {
    assert_eq!(
        unfinished_code(&rust("a.rs", "fn f() { todo!() }")),
        ["a.rs:1: todo"]
    );
    assert!(unfinished_code(&rust("a.rs", "fn todo() {}")).is_empty());
    let note = concat!("a\n// FIX", "ME later\n");
    assert_eq!(
        unfinished_notes(&rust("a.c", note)),
        [concat!("a.c:2: // FIX", "ME later")]
    );
    assert!(unfinished_notes(&rust("a.c", "mkdtemp(\"name-XXXXXX\")")).is_empty());
}

// --- documentation -------------------------------------------------------------

fn badly_documented(export: &Export) -> Vec<String> {
    let has = |word: &str| export.doc.iter().any(|line| line.contains(word));
    let mut missing = Vec::new();
    if export.returns && !has("Returns") {
        missing.push("what it returns");
    }
    if !has("Since: ") {
        missing.push("since when it is there");
    }
    let told = |what| format!("{}: {} does not say {what}", export.place, export.name);
    missing.into_iter().map(told).collect()
}

#[test]
fn every_export_is_documented() {
    let found: Vec<_> = exports::all().iter().flat_map(badly_documented).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn a_badly_documented_export_is_reported() {
    let snippet = |doc: &str, returns: &str| {
        let text = format!("{doc}\n#[unsafe(no_mangle)] extern \"C\" fn f() {returns} {{}}");
        let exports = exports::of(&syn::parse_file(&text).expect("it is Rust"), "a.rs");
        exports
            .iter()
            .flat_map(badly_documented)
            .collect::<Vec<_>>()
    };
    assert!(snippet("/// Returns 0.\n///\n/// Since: 0.1.", "-> i32").is_empty());
    assert!(snippet("/// Ends it.\n///\n/// Since: 0.1.", "").is_empty());
    assert_eq!(
        snippet("/// Returns 0.", "-> i32"),
        ["a.rs:2: f does not say since when it is there"]
    );
    assert_eq!(
        snippet("/// Since: 0.1.", "-> i32"),
        ["a.rs:2: f does not say what it returns"]
    );
}
