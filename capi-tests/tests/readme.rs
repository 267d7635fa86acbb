//! What the README shows is what there is.

use capi_tests::{paths, program};

/// The blocks of a language in a Markdown text.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == format!("```{language}") {
            let block = lines.by_ref().take_while(|line| *line != "```");
            found.push(block.map(|line| format!("{line}\n")).collect());
        }
    }
    found
}

/// A program without the comment that it begins with.
fn without_comment(text: &str) -> &str {
    match text.split_once("*/\n") {
        Some((comment, rest)) if comment.starts_with("/*") => rest,
        _ => text,
    }
}

#[test]
fn its_program_is_the_example_that_is_tested() {
    let readme = blocks(&paths::read("README.md"), "c");
    let hello = paths::read("examples-c/hello.c");
    assert_eq!(
        readme.first().map(String::as_str),
        Some(without_comment(&hello))
    );
}

#[test]
fn its_programs_compile_without_a_warning() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let programs = blocks(&paths::read("README.md"), "c");
    assert!(!programs.is_empty());
    for program in programs {
        let source = directory.path().join("readme.c");
        std::fs::write(&source, program).expect("it can be written");
        let mut command = program::cc();
        command.args([
            "-std=c11",
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Werror",
            "-fsyntax-only",
        ]);
        command.args(program::pkg_config(
            &paths::stage().join("lib"),
            None,
            &["--cflags"],
        ));
        program::tool(command.arg(&source)).expect("compiling");
    }
}

#[test]
fn the_rate_of_its_demo_is_the_demos() {
    let demo = paths::read("examples-c/demo.sh");
    let rate = demo
        .split_once("${DEMO_RATE_MB:-")
        .and_then(|(_, rest)| rest.split_once('}'));
    let (rate, _) = rate.expect("demo.sh has a default rate");
    let said = format!("slowed to {rate} MB/s");
    assert!(
        paths::read("README.md").contains(&said),
        "the README does not say `{said}`"
    );
}

#[test]
fn blocks_are_found() {
    let text = "a\n```c\nint a;\n```\n```sh\nls\n```\n```c\nint b;\n```\n";
    assert_eq!(blocks(text, "c"), ["int a;\n", "int b;\n"]);
    assert_eq!(without_comment("/* a\n * b */\nint c;\n"), "int c;\n");
    assert_eq!(without_comment("int c; /* d */\n"), "int c; /* d */\n");
}
