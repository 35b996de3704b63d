//! Counts of what makes a house hard to live in.

use super::read::is_test;
use super::{Crate, File};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// What was counted in a crate.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Files of more than 400 lines, with their lines.
    pub long_files: Vec<(String, usize)>,
    /// Functions of more than 60 lines, as `file: function`, with their lines.
    pub long_functions: Vec<(String, usize)>,
    /// Parameters of type `bool`, in functions and methods.
    pub booleans: Vec<String>,
    /// `pub` functions, types and fields without a word of documentation.
    pub undocumented: Vec<String>,
    /// Unsafe blocks without `SAFETY:` in the comment directly above.
    pub unsafe_without_reason: Vec<String>,
}

/// The most lines a file has.
const LONGEST_FILE: usize = 400;
/// The most lines a function has.
const LONGEST_FUNCTION: usize = 60;

/// Counts in all files of a crate.
pub fn count(house: &Crate) -> Counts {
    let mut counts = Counts::default();
    for file in &house.files {
        let lines = file.text.lines().count();
        if lines > LONGEST_FILE {
            counts.long_files.push((file.path.clone(), lines));
        }
        Counter { file, counts: &mut counts }.visit_file(&file.syntax);
    }
    counts.long_files.sort_by_key(|(_, lines)| std::cmp::Reverse(*lines));
    counts.long_functions.sort_by_key(|(_, lines)| std::cmp::Reverse(*lines));
    counts
}

struct Counter<'a> {
    file: &'a File,
    counts: &'a mut Counts,
}

impl Counter<'_> {
    fn at(&self, spanned: &impl Spanned, what: &str) -> String {
        format!("{}:{}: {what}", self.file.path, spanned.span().start().line)
    }

    fn function(&mut self, signature: &syn::Signature, whole: &impl Spanned) {
        let span = whole.span();
        let lines = span.end().line + 1 - signature.span().start().line;
        if lines > LONGEST_FUNCTION {
            self.counts.long_functions.push((format!("{}: {}", self.file.path, signature.ident), lines));
        }
        for input in &signature.inputs {
            if let syn::FnArg::Typed(typed) = input
                && matches!(&*typed.ty, syn::Type::Path(path) if path.path.is_ident("bool"))
            {
                let place = self.at(&signature.ident, &signature.ident.to_string());
                self.counts.booleans.push(place);
            }
        }
    }

    fn documented(&mut self, visibility: &syn::Visibility, attributes: &[syn::Attribute], name: &syn::Ident) {
        let is_public = matches!(visibility, syn::Visibility::Public(_));
        let has_docs = attributes.iter().any(|attribute| attribute.path().is_ident("doc"));
        if is_public && !has_docs {
            let place = self.at(name, &name.to_string());
            self.counts.undocumented.push(place);
        }
    }
}

impl Visit<'_> for Counter<'_> {
    fn visit_item_mod(&mut self, item: &syn::ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &syn::ItemFn) {
        if is_test(&item.attrs) {
            return;
        }
        self.function(&item.sig, item);
        self.documented(&item.vis, &item.attrs, &item.sig.ident);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &syn::ImplItemFn) {
        self.function(&item.sig, item);
        self.documented(&item.vis, &item.attrs, &item.sig.ident);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_item_struct(&mut self, item: &syn::ItemStruct) {
        self.documented(&item.vis, &item.attrs, &item.ident);
        for field in &item.fields {
            if let Some(name) = &field.ident {
                self.documented(&field.vis, &field.attrs, name);
            }
        }
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &syn::ItemEnum) {
        self.documented(&item.vis, &item.attrs, &item.ident);
        visit::visit_item_enum(self, item);
    }

    fn visit_expr_unsafe(&mut self, block: &syn::ExprUnsafe) {
        let line = block.unsafe_token.span.start().line;
        let lines: Vec<&str> = self.file.text.lines().collect();
        let above = lines[..line - 1].iter().rev().take_while(|line| line.trim_start().starts_with("//"));
        if !above.into_iter().any(|line| line.contains("SAFETY:")) {
            let place = self.at(block, "unsafe");
            self.counts.unsafe_without_reason.push(place);
        }
        visit::visit_expr_unsafe(self, block);
    }
}
