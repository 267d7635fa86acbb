//! `cachefs.h` alone compiles as every C and C++ that is in use, without a
//! warning; and a C++ program links with it and runs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use capi_tests::{paths, program};

const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

#[test]
fn header_compiles_as_c() {
    for standard in ["c99", "c11", "c2x"] {
        compile_alone(program::cc().arg("-Wstrict-prototypes"), "c", standard);
    }
}

#[test]
fn header_compiles_as_cxx() {
    for standard in ["c++11", "c++17", "c++20"] {
        compile_alone(&mut program::cxx(), "c++", standard);
    }
}

#[test]
fn a_warning_is_an_error() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let source = directory.path().join("bad.h");
    std::fs::write(&source, "int cachefs_old_style();\n").expect("it can be written");
    let mut command = program::cc();
    let outcome = program::tool(
        command
            .arg("-Wstrict-prototypes")
            .args(check("c", "c11", &source)),
    );
    assert!(
        !outcome.status.success(),
        "a declaration without prototype went through"
    );
}

#[test]
fn a_cxx_program_runs() {
    let stage = paths::stage();
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let binary = directory.path().join("header");
    let libdir = stage.join("lib");
    let mut command = program::cxx();
    command
        .args(["-std=c++17"])
        .args(WARNINGS)
        .arg("-o")
        .arg(&binary);
    command.arg(paths::repository().join("capi-tests/cxx/header.cc"));
    command.args(program::pkg_config(&libdir, None, &["--cflags", "--libs"]));
    program::tool(command.arg(format!("-Wl,-rpath,{}", libdir.display()))).expect("compiling");
    let mut command = Command::new(&binary);
    let log = directory.path().join("log");
    let outcome = program::run(command.arg(directory.path()), &log, Duration::from_secs(60));
    outcome.expect("it can be started").expect("header.cc");
}

/// Includes the header from an empty source, so nothing that came before can
/// help it.
fn compile_alone(compiler: &mut Command, language: &str, standard: &str) {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let source = directory.path().join("alone");
    std::fs::write(&source, "#include <cachefs.h>\n").expect("it can be written");
    let include = paths::repository().join("include");
    compiler
        .arg("-I")
        .arg(include)
        .args(check(language, standard, &source));
    program::tool(compiler).expect(standard);
}

fn check(language: &str, standard: &str, source: &Path) -> Vec<PathBuf> {
    let mut arguments: Vec<PathBuf> = WARNINGS.iter().map(PathBuf::from).collect();
    arguments.push(format!("-std={standard}").into());
    arguments.extend(["-fsyntax-only", "-x", language].map(PathBuf::from));
    arguments.push(source.into());
    arguments
}
