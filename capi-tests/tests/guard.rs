//! No panic crosses the C boundary: the body of every export is one call of a
//! function of `src/capi/guard.rs`, so nothing runs outside of it.

use capi_tests::exports::{self, Export};

#[test]
fn every_export_goes_through_the_guard() {
    let exports = exports::all();
    assert!(
        exports.len() >= 35,
        "only {} exports were found",
        exports.len()
    );
    let unguarded = unguarded(&exports);
    assert!(
        unguarded.is_empty(),
        "not one call of guard::…:\n{}",
        unguarded.join("\n")
    );
}

#[test]
fn a_guarded_export_is_accepted() {
    for body in [
        "guard::call(|| Ok(0))",
        "unsafe { guard::call(|| Ok(0)) }",
        "super::guard::call(|| Ok(0))",
        "crate::capi::guard::call(move || { let x = 1; Ok(x) })",
    ] {
        assert!(unguarded(&snippet(body)).is_empty(), "{body}");
    }
}

#[test]
fn an_unguarded_export_is_reported() {
    for body in [
        "0",
        "work()",
        "let x = work(); guard::call(|| Ok(x))",
        "guard::call(|| Ok(0));",
        "guard::call(|| Ok(0)) + 1",
        "guard::call(|| Ok(0)).min(work())",
        "unsafe { work(); guard::call(|| Ok(0)) }",
        "other::call(|| Ok(0))",
        "guard(|| Ok(0))",
        "guard::call(work())",
        "guard::call(work()?, || Ok(0))",
    ] {
        assert_eq!(
            unguarded(&snippet(body)),
            ["snippet.rs:2 cachefs_x"],
            "{body}"
        );
    }
}

#[test]
fn every_way_to_export_is_seen() {
    for attribute in [
        "#[unsafe(no_mangle)]",
        "#[no_mangle]",
        "#[unsafe(export_name = \"cachefs_x\")]",
        "#[export_name = \"cachefs_x\"]",
    ] {
        for (before, after) in [("", ""), ("mod m {", "}"), ("impl T {", "}")] {
            let text = format!("{before} {attribute} pub extern \"C\" fn cachefs_x() {{}} {after}");
            let parsed = syn::parse_file(&text).expect("the snippet is Rust");
            let found = exports::of(&parsed, "snippet.rs");
            assert_eq!(found.len(), 1, "{text}");
            assert_eq!(found[0].name, "cachefs_x", "{text}");
        }
    }
}

fn snippet(body: &str) -> Vec<Export> {
    let text = format!(
        "#[unsafe(no_mangle)]\npub unsafe extern \"C\" fn cachefs_x(a: u32) -> i32 {{ {body} }}"
    );
    exports::of(
        &syn::parse_file(&text).expect("the snippet is Rust"),
        "snippet.rs",
    )
}

fn unguarded(exports: &[Export]) -> Vec<String> {
    let outside = exports
        .iter()
        .filter(|export| !is_guarded_block(&export.body));
    outside
        .map(|export| format!("{} {}", export.place, export.name))
        .collect()
}

/// The block is one tail expression, and that is guarded.
fn is_guarded_block(block: &syn::Block) -> bool {
    match block.stmts.as_slice() {
        [syn::Stmt::Expr(expression, None)] => is_guarded(expression),
        _ => false,
    }
}

fn is_guarded(expression: &syn::Expr) -> bool {
    match expression {
        syn::Expr::Unsafe(block) => is_guarded_block(&block.block),
        syn::Expr::Call(call) => is_guard_path(&call.func) && call.args.iter().all(is_harmless),
        _ => false,
    }
}

fn is_guard_path(function: &syn::Expr) -> bool {
    let syn::Expr::Path(path) = function else {
        return false;
    };
    let segments: Vec<_> = path
        .path
        .segments
        .iter()
        .map(|s| s.ident.to_string())
        .collect();
    segments.len() >= 2 && segments[segments.len() - 2] == "guard"
}

/// Arguments are evaluated outside of the guard, so they must not do anything:
/// closures, names, and constants.
fn is_harmless(argument: &syn::Expr) -> bool {
    match argument {
        syn::Expr::Closure(_) | syn::Expr::Path(_) | syn::Expr::Lit(_) => true,
        syn::Expr::Reference(reference) => is_harmless(&reference.expr),
        syn::Expr::Unary(unary) => is_harmless(&unary.expr),
        syn::Expr::Tuple(tuple) => tuple.elems.iter().all(is_harmless),
        _ => false,
    }
}
