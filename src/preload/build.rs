//! Compiles the part that is in C.

fn main() {
    println!("cargo:rerun-if-changed=variadic.c");
    cc::Build::new()
        .file("variadic.c")
        .flag("-std=c11")
        .warnings(true)
        .extra_warnings(true)
        .flag("-fvisibility=hidden")
        // The optional argument is read as the caller may not have passed it, as in glibc.
        .opt_level(2)
        .compile("variadic");
}
