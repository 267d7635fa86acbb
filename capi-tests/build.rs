//! Reads `include/cachefs.h` back with bindgen and writes what tests/layout.rs
//! compares: for each public type its fields, and for each constant its value,
//! as the header has them and as `src/capi/types.rs` and the files below it have them.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write;
use std::fs;
use std::path::Path;

const HEADER: &str = "../include/cachefs.h";
const TYPES: [&str; 3] = [
    "../src/capi/types.rs",
    "../src/capi/types/origins.rs",
    "../src/capi/types/statistics.rs",
];

fn main() {
    println!("cargo::rerun-if-changed={HEADER}");
    for file in TYPES {
        println!("cargo::rerun-if-changed={file}");
    }
    let out = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    let out = Path::new(&out);
    if !Path::new(HEADER).exists() {
        // tests/header.rs must be able to write the first header, so only the
        // test that reads these files fails to compile.
        let message = "compile_error!(\"include/cachefs.h is missing: run `make header`\");";
        fs::write(out.join("header.rs"), message).expect("OUT_DIR can be written");
        fs::write(out.join("comparisons.rs"), "").expect("OUT_DIR can be written");
        return;
    }
    let read = |file| fs::read_to_string(file).expect("the types can be read");
    // A file's own words stand only at its beginning.
    let about = |line: &&str| !line.starts_with("//!");
    let types = TYPES.map(read).concat();
    let types: Vec<&str> = types.lines().filter(about).collect();
    let types = Declared::read(&types.join("\n"));
    let header = read_back(&types);
    fs::write(out.join("header.rs"), &header).expect("OUT_DIR can be written");
    let text = comparisons(&Declared::read(&header), &types);
    fs::write(out.join("comparisons.rs"), text).expect("OUT_DIR can be written");
}

/// The header as bindgen understands it.
fn read_back(types: &Declared) -> String {
    // Constants of C, since bindgen's own reading of macros has no unsigned ones.
    // A macro that is missing must not stop `make header` from writing it.
    let text = types
        .constants
        .iter()
        .fold(format!("#include \"{HEADER}\"\n"), |text, name| {
            let value = format!("static const unsigned long long VALUE_OF_{name} = {name};");
            text + &format!("#ifdef {name}\n{value}\n#endif\n")
        });
    bindgen::Builder::default()
        .header_contents("header_and_values.h", &text)
        .allowlist_item("(cachefs|VALUE_OF)_.*")
        .layout_tests(false)
        .derive_debug(false)
        .generate()
        .expect("bindgen reads cachefs.h")
        .to_string()
}

/// What one side declares.
struct Declared {
    /// Structures with their fields; opaque ones have none.
    structures: BTreeMap<String, Vec<Field>>,
    /// Constants.
    constants: Vec<String>,
    /// Types of callbacks with their signatures.
    callbacks: BTreeMap<String, String>,
}

/// One field of a structure.
struct Field {
    /// As this side spells it: bindgen writes `type_` where Rust has `r#type`.
    ident: String,
    /// As C has it.
    name: String,
    ty: String,
}

impl Declared {
    fn read(source: &str) -> Declared {
        let mut declared = Declared {
            structures: BTreeMap::new(),
            constants: Vec::new(),
            callbacks: BTreeMap::new(),
        };
        for item in syn::parse_file(source).expect("it is Rust").items {
            match item {
                syn::Item::Struct(item) if item.ident.to_string().starts_with("cachefs_") => {
                    declared
                        .structures
                        .insert(item.ident.to_string(), fields(&item));
                }
                syn::Item::Const(item) => declared.constants.push(item.ident.to_string()),
                syn::Item::Type(item) => {
                    declared
                        .callbacks
                        .insert(item.ident.to_string(), plain(&item.ty));
                }
                _ => {}
            }
        }
        declared
    }
}

fn fields(item: &syn::ItemStruct) -> Vec<Field> {
    let named = item
        .fields
        .iter()
        .filter_map(|field| Some((field.ident.as_ref()?, &field.ty)));
    named
        .map(|(ident, ty)| {
            let ident = ident.to_string();
            let name = ident
                .trim_start_matches("r#")
                .trim_end_matches('_')
                .to_owned();
            Field {
                ident,
                name,
                ty: plain(ty),
            }
        })
        .filter(|field| !matches!(field.name.as_str(), "_private" | "_unused" | "_address"))
        .collect()
}

/// A type without what the two sides spell differently: paths, the C names of
/// integers, last commas, and the lengths of arrays, which the field's size shows.
fn plain(ty: &syn::Type) -> String {
    let text = quote::quote!(#ty).to_string().replace(' ', "");
    let text = text.replace(",)", ")").replace(",>", ">");
    let mut text = ["::std::option::", "::std::os::raw::", "core::ffi::"]
        .iter()
        .fold(text, |text, path| text.replace(path, ""));
    for (c, rust) in [
        ("c_uchar", "u8"),
        ("c_int", "i32"),
        ("c_uint", "u32"),
        ("c_ulong", "u64"),
    ] {
        text = text.replace(c, rust);
    }
    match (text.find(';'), text.rfind(']')) {
        (Some(from), Some(to)) => text[..from].to_owned() + &text[to..],
        _ => text,
    }
}

/// The source of `fn comparisons() -> Vec<Comparison>`.
fn comparisons(header: &Declared, types: &Declared) -> String {
    let mut text = String::from("fn comparisons() -> Vec<Comparison> {\nvec![\n");
    let mut add = |what: &str, header: &str, types: &str| {
        writeln!(text, "Comparison::new({what:?}, {header}, {types}),").expect("memory suffices");
    };
    add("names of types", &type_names(header), &type_names(types));
    for (name, fields) in &types.structures {
        let theirs = header.structures.get(name).map_or(&[][..], |fields| fields);
        compare_structure(&mut add, name, theirs, fields);
    }
    for (name, callback) in &types.callbacks {
        let theirs = header.callbacks.get(name).cloned().unwrap_or_default();
        add(name, &format!("{theirs:?}"), &format!("{callback:?}"));
    }
    for name in &types.constants {
        let value = format!("VALUE_OF_{name}");
        let theirs = match header.constants.contains(&value) {
            true => format!("header::{value}"),
            false => "\"not defined\"".to_owned(),
        };
        add(name, &theirs, &format!("types::{name}"));
    }
    text.push_str("]\n}\n");
    text
}

fn compare_structure(
    add: &mut impl FnMut(&str, &str, &str),
    name: &str,
    header: &[Field],
    types: &[Field],
) {
    add(
        &format!("fields of {name}"),
        &listed(header),
        &listed(types),
    );
    if header.is_empty() || types.is_empty() {
        return;
    }
    for measure in ["size_of", "align_of"] {
        let of = |side: &str| format!("{measure}::<{side}::{name}>()");
        add(&format!("{measure} {name}"), &of("header"), &of("types"));
    }
    for field in types {
        let Some(theirs) = header.iter().find(|theirs| theirs.name == field.name) else {
            continue;
        };
        let offset = |side: &str, field: &Field| {
            format!("std::mem::offset_of!({side}::{name}, {})", field.ident)
        };
        let what = format!("offset of {name}.{}", field.name);
        add(&what, &offset("header", theirs), &offset("types", field));
        let size = |side: &str, field: &Field| {
            format!(
                "size_of_field(|s: &{side}::{name}| &raw const s.{})",
                field.ident
            )
        };
        let what = format!("size of {name}.{}", field.name);
        add(&what, &size("header", theirs), &size("types", field));
    }
}

fn type_names(declared: &Declared) -> String {
    let all: Vec<_> = declared
        .structures
        .keys()
        .chain(declared.callbacks.keys())
        .cloned()
        .collect();
    format!("{:?}", all.join(" "))
}

fn listed(fields: &[Field]) -> String {
    let all: Vec<_> = fields
        .iter()
        .map(|field| format!("{}: {}", field.name, field.ty))
        .collect();
    format!("{:?}", all.join(", "))
}
