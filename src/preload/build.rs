//! Compiles the parts that are in C.

fn main() {
    let sources = ["variadic.c", "unwind.c"];
    for source in sources {
        println!("cargo:rerun-if-changed={source}");
    }
    cc::Build::new()
        .files(sources)
        .flag("-std=c11")
        .warnings(true)
        .extra_warnings(true)
        .flag("-fvisibility=hidden")
        // The unwinder goes through these functions too.
        .flag("-fasynchronous-unwind-tables")
        // The optional argument is read as the caller may not have passed it, as in glibc.
        .opt_level(2)
        .compile("preload");
}
