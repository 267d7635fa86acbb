//! The staged shared library exports what `include/libcachefs.map` promises,
//! and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use capi_tests::{exports, map, paths};
use object::Endianness;
use object::elf::{DT_NEEDED, DT_SONAME, DynamicTag, FileHeader64, SHN_ABS, SHN_UNDEF, SHT_DYNSYM};
use object::read::elf::{Dyn, FileHeader, Sym};

type Elf = FileHeader64<Endianness>;

/// What a reader of `libcachefs.so` sees of it.
struct Library {
    soname: Vec<String>,
    needed: BTreeSet<String>,
    /// Defined dynamic symbols, with their version if it is the default one.
    exported: BTreeMap<String, String>,
}

#[test]
fn exports_are_those_of_the_map() {
    assert_eq!(staged().exported, map::symbols());
}

#[test]
fn exports_of_the_source_are_those_of_the_map() {
    let source: BTreeSet<_> = exports::all()
        .into_iter()
        .map(|export| export.name)
        .collect();
    let map: BTreeSet<_> = map::symbols().into_keys().collect();
    assert_eq!(source, map);
}

#[test]
fn every_export_has_the_prefix() {
    let exported = staged().exported;
    let bad: Vec<_> = exported
        .keys()
        .filter(|name| !name.starts_with("cachefs_"))
        .collect();
    assert!(bad.is_empty(), "{bad:?}");
}

#[test]
fn soname_is_that_of_the_abi() {
    let types = paths::read("src/capi/types.rs");
    let mut lines = types.lines();
    let abi = lines.find_map(|line| line.strip_prefix("pub const CACHEFS_ABI: u32 = "));
    let abi = abi.expect("types.rs has CACHEFS_ABI").trim_end_matches(';');
    assert_eq!(staged().soname, [format!("libcachefs.so.{abi}")]);
}

#[test]
fn cargos_library_has_the_same_soname() {
    // Programs of the build tree must find the installed library later.
    let built = paths::target().join("release/libcachefs.so");
    assert_eq!(read(&built).soname, staged().soname);
}

/// The core's feature `sim` is for its tests: only they ask for it, and cargo
/// builds a library that is installed without what tests ask for.
#[test]
fn nothing_of_the_simulated_engine_is_installed() {
    let source = paths::read("src/core/io/sim/mod.rs");
    let reason = "simulated, from seed";
    assert!(source.contains(reason), "the engine's own words");
    for name in ["libcachefs.so", "libcachefs.a"] {
        let bytes = fs::read(paths::stage().join("lib").join(name)).unwrap();
        let found = bytes
            .windows(reason.len())
            .any(|at| at == reason.as_bytes());
        assert!(!found, "{name}");
    }
}

/// The C library, its loader, and the unwinder: everything else that Rust's
/// standard library is linked with is a part of the C library by now.
#[test]
fn only_the_c_library_and_the_unwinder_are_needed() {
    let allowed = |name: &String| {
        let is = |stem: &str| name.starts_with(stem);
        is("libc.so.") || is("libgcc_s.so.") || is("libm.so.") || is("ld-linux") || is("ld64.so.")
    };
    let needed = staged().needed;
    let others: Vec<_> = needed.iter().filter(|name| !allowed(name)).collect();
    assert!(others.is_empty(), "also needs {others:?}");
    assert!(
        needed.iter().any(|name| name.starts_with("libc.so.")),
        "{needed:?}"
    );
}

#[test]
fn links_lead_to_the_library() {
    let lib = paths::stage().join("lib");
    let file = format!("libcachefs.so.{}", env!("CARGO_PKG_VERSION"));
    let soname = staged().soname.remove(0);
    let link = |name: &str| fs::read_link(lib.join(name)).expect("it is a link");
    assert_eq!(link("libcachefs.so"), PathBuf::from(&soname));
    assert_eq!(link(&soname), PathBuf::from(&file));
    assert!(
        fs::symlink_metadata(lib.join(&file))
            .expect("it is there")
            .is_file()
    );
}

#[test]
fn a_map_that_hides_nothing_is_refused() {
    let error = map::parse("V_1 {\nglobal:\n    a;\n};\n").expect_err("no local: *");
    assert_eq!(error, "nothing says `local: *;`");
}

#[test]
fn a_symbol_in_two_nodes_is_refused() {
    let script = "V_1 {\nglobal:\n    a;\nlocal: *;\n};\nV_2 {\n    a;\n} V_1;\n";
    assert_eq!(
        map::parse(script).expect_err("a is there twice"),
        "a is there twice"
    );
}

#[test]
fn later_nodes_are_read() {
    let script = "V_1 {\nglobal:\n    a;\nlocal: *;\n};\nV_2 {\n    b;\n} V_1;\n";
    let symbols = map::parse(script).expect("it is well formed");
    let expected = [("a", "V_1"), ("b", "V_2")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(symbols, BTreeMap::from(expected));
}

fn staged() -> Library {
    read(&paths::stage().join("lib/libcachefs.so"))
}

fn read(path: &Path) -> Library {
    let data = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Library {
        soname: dynamic(&data, DT_SONAME),
        needed: dynamic(&data, DT_NEEDED).into_iter().collect(),
        exported: exported(&data),
    }
}

/// The texts of the entries of the dynamic section with this tag.
fn dynamic(data: &[u8], tag: DynamicTag) -> Vec<String> {
    let header = Elf::parse(data).expect("it is an ELF file");
    let endian = header.endian().expect("it has an endianness");
    let sections = header.sections(endian, data).expect("it has sections");
    let (entries, strings) = sections
        .dynamic(endian, data)
        .expect("it is well formed")
        .expect("it is dynamic");
    let strings = sections
        .strings(endian, data, strings)
        .expect("it has strings");
    let entries = entries.iter().filter(|entry| entry.d_tag(endian) == tag);
    entries
        .map(|entry| entry.string(endian, strings).expect("it is a string"))
        .map(|text| String::from_utf8(text.to_vec()).expect("it is ASCII"))
        .collect()
}

fn exported(data: &[u8]) -> BTreeMap<String, String> {
    let header = Elf::parse(data).expect("it is an ELF file");
    let endian = header.endian().expect("it has an endianness");
    let sections = header.sections(endian, data).expect("it has sections");
    let symbols = sections
        .symbols(endian, data, SHT_DYNSYM)
        .expect("it has dynamic symbols");
    let versions = sections
        .versions(endian, data)
        .expect("they are well formed");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("it is ASCII");
    let mut exported = BTreeMap::new();
    for (index, symbol) in symbols.enumerate() {
        // The nodes themselves are absolute symbols.
        let elsewhere = [SHN_UNDEF, SHN_ABS].contains(&symbol.st_shndx(endian));
        let name = text(
            symbol
                .name(endian, symbols.strings())
                .expect("it has a name"),
        );
        if elsewhere || name.is_empty() {
            continue;
        }
        let version = versions.as_ref().and_then(|versions| {
            let index = versions.version_index(endian, index);
            let version = versions.version(index.into()).expect("it is well formed")?;
            (!index.is_hidden()).then(|| text(version.name()))
        });
        exported.insert(name, version.unwrap_or_default());
    }
    exported
}
