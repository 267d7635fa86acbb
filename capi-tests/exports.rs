//! The functions that `src/capi` exports, read from its source.

use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

use crate::paths;

/// One exported function.
pub struct Export {
    /// Its symbol.
    pub name: String,
    /// `file:line`, for messages.
    pub place: String,
    /// Its doc comment, one line an element, without the leading space.
    pub doc: Vec<String>,
    /// It returns something.
    pub returns: bool,
    /// Its body.
    pub body: syn::Block,
}

/// The source files of `src/capi`, in the order in which `src/capi.rs` and the
/// modules below declare them: the order of the header.
pub fn modules() -> Vec<PathBuf> {
    let mut files = Vec::new();
    add_module(&paths::repository().join("src/capi.rs"), &mut files);
    files
}

fn add_module(file: &Path, files: &mut Vec<PathBuf>) {
    files.push(file.to_path_buf());
    let directory = file.with_extension("");
    for item in parse(file).items {
        match item {
            syn::Item::Mod(module) if module.content.is_none() && !is_test(&module.attrs) => {
                add_module(&directory.join(format!("{}.rs", module.ident)), files);
            }
            _ => {}
        }
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) => {
            list.path.is_ident("cfg") && list.tokens.to_string().split(' ').any(|t| t == "test")
        }
        _ => false,
    })
}

/// Every export of `src/capi`, in the order of the source.
pub fn all() -> Vec<Export> {
    modules()
        .iter()
        .flat_map(|file| of(&parse(file), &paths::shown(file)))
        .collect()
}

/// The exports of one parsed file, which messages call `file`.
pub fn of(parsed: &syn::File, file: &str) -> Vec<Export> {
    let mut collector = Collector {
        file,
        exports: Vec::new(),
    };
    collector.visit_file(parsed);
    collector.exports
}

/// The syntax tree of a source file.
///
/// # Panics
///
/// If it cannot be read, or is not Rust.
pub fn parse(file: &Path) -> syn::File {
    let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

struct Collector<'a> {
    file: &'a str,
    exports: Vec<Export>,
}

impl Collector<'_> {
    fn add(
        &mut self,
        attributes: &[syn::Attribute],
        signature: &syn::Signature,
        body: &syn::Block,
    ) {
        if let Some(name) = exported_name(attributes, &signature.ident) {
            let line = signature.ident.span().start().line;
            self.exports.push(Export {
                name,
                place: format!("{}:{line}", self.file),
                doc: doc_lines(attributes),
                returns: !matches!(signature.output, syn::ReturnType::Default),
                body: body.clone(),
            });
        }
    }
}

impl<'ast> Visit<'ast> for Collector<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.attrs, &item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.attrs, &item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }
}

/// The symbol of a function with these attributes, if they export it.
fn exported_name(attributes: &[syn::Attribute], ident: &syn::Ident) -> Option<String> {
    attributes.iter().find_map(|attribute| {
        let text = match &attribute.meta {
            syn::Meta::List(list) if list.path.is_ident("unsafe") => list.tokens.to_string(),
            syn::Meta::NameValue(pair) if pair.path.is_ident("export_name") => {
                literal(&pair.value)?
            }
            meta => meta.path().get_ident().map(ToString::to_string)?,
        };
        if text == "no_mangle" {
            return Some(ident.to_string());
        }
        match text.split_once('=') {
            Some((key, value)) if key.trim() == "export_name" => {
                Some(value.trim().trim_matches('"').to_owned())
            }
            _ if attribute.path().is_ident("export_name") => Some(text),
            _ => None,
        }
    })
}

fn literal(value: &syn::Expr) -> Option<String> {
    match value {
        syn::Expr::Lit(syn::ExprLit {
            lit: syn::Lit::Str(text),
            ..
        }) => Some(text.value()),
        _ => None,
    }
}

/// The lines of a doc comment.
pub fn doc_lines(attributes: &[syn::Attribute]) -> Vec<String> {
    attributes
        .iter()
        .filter_map(|attribute| match &attribute.meta {
            syn::Meta::NameValue(pair) if pair.path.is_ident("doc") => literal(&pair.value),
            _ => None,
        })
        .flat_map(|text| {
            text.lines()
                .map(|line| line.trim().to_owned())
                .collect::<Vec<_>>()
        })
        .collect()
}
