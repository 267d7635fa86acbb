//! The tool `cachefs`.
fn main() {}
