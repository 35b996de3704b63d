//! Reading a crate: its files, and the names that each takes from the others.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use syn::visit::{self, Visit};

/// A crate's sources.
pub struct Crate {
    /// In the order of their paths.
    pub files: Vec<File>,
}

/// One file.
pub struct File {
    /// From the crate's `src`, with slashes: `guard/judge.rs`.
    pub path: String,
    /// The text.
    pub text: String,
    /// The parsed text.
    pub syntax: syn::File,
    /// The other files that it takes names from, and the names.
    pub imports: BTreeMap<usize, BTreeSet<String>>,
}

impl File {
    /// The folder at the top, or the file itself where it lies in none: `guard`, `error`.
    pub fn room(&self) -> &str {
        self.path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }
}

type Module = Vec<String>;

/// What a module makes known under a name: the path it stands for.
type Aliases = BTreeMap<String, Module>;

/// Reads the sources below `src`.
pub fn read(src: &Path) -> Crate {
    let mut paths = Vec::new();
    list(src, &mut paths);
    paths.sort();
    let mut files: Vec<File> = paths.iter().map(|path| parse(src, path)).collect();
    let modules: BTreeMap<Module, usize> = files.iter().enumerate().map(|(at, file)| (module(&file.path), at)).collect();
    let aliases: BTreeMap<Module, Aliases> =
        modules.iter().map(|(name, at)| (name.clone(), aliases(name, &files[*at].syntax))).collect();
    let imports: Vec<_> =
        modules.iter().map(|(name, at)| (*at, imports(name, &files[*at].syntax, &modules, &aliases))).collect();
    for (at, mut found) in imports {
        found.remove(&at);
        files[at].imports = found;
    }
    Crate { files }
}

fn list(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the sources can be read") {
        let path = entry.expect("the sources can be read").path();
        if path.is_dir() {
            list(&path, paths);
        } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
            paths.push(path);
        }
    }
}

fn parse(src: &Path, path: &Path) -> File {
    let text = fs::read_to_string(path).expect("the sources can be read");
    let syntax = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let path = path.strip_prefix(src).expect("it was found there").to_string_lossy().replace('\\', "/");
    File { path, text, syntax, imports: BTreeMap::new() }
}

fn module(path: &str) -> Module {
    let mut parts: Module = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

/// A path from the crate's root; `None` if it leaves the crate. `names` holds what the file itself has imported.
fn absolute(here: &Module, names: Option<&Aliases>, path: &[String]) -> Option<Module> {
    let (first, rest) = path.split_first()?;
    let mut base = match first.as_str() {
        "crate" => Module::new(),
        "self" => here.clone(),
        "super" => here[..here.len().checked_sub(1)?].to_vec(),
        name => match names.and_then(|names| names.get(name)) {
            Some(known) => known.clone(),
            None => here.iter().cloned().chain([name.to_owned()]).collect(),
        },
    };
    for part in rest {
        match part.as_str() {
            "super" => drop(base.pop()),
            part => base.push(part.to_owned()),
        }
    }
    Some(base)
}

/// The names that `use` makes known in a file, with the paths that they stand for.
fn aliases(here: &Module, syntax: &syn::File) -> Aliases {
    struct Uses(Vec<(Module, String)>);
    impl Visit<'_> for Uses {
        fn visit_item_mod(&mut self, item: &syn::ItemMod) {
            if !is_test(&item.attrs) {
                visit::visit_item_mod(self, item);
            }
        }
        fn visit_item_use(&mut self, item: &syn::ItemUse) {
            spread(&item.tree, &mut Vec::new(), &mut self.0);
        }
    }
    let mut uses = Uses(Vec::new());
    uses.visit_file(syntax);
    let inside = |(path, name): (Module, String)| {
        let local = ["crate", "self", "super"].contains(&path[0].as_str()) || declares(syntax, &path[0]);
        Some((name, absolute(here, None, &path).filter(|_| local)?))
    };
    uses.0.into_iter().filter_map(inside).collect()
}

/// Whether the file has a module of that name below it.
fn declares(syntax: &syn::File, name: &str) -> bool {
    syntax.items.iter().any(|item| matches!(item, syn::Item::Mod(item) if item.ident == name))
}

fn spread(tree: &syn::UseTree, before: &mut Module, found: &mut Vec<(Module, String)>) {
    let with = |before: &Module, name: &syn::Ident| before.iter().cloned().chain([name.to_string()]).collect::<Module>();
    match tree {
        syn::UseTree::Path(path) => {
            before.push(path.ident.to_string());
            spread(&path.tree, before, found);
            before.pop();
        }
        syn::UseTree::Name(name) if name.ident == "self" => {
            found.extend(before.last().cloned().map(|last| (before.clone(), last)));
        }
        syn::UseTree::Name(name) => found.push((with(before, &name.ident), name.ident.to_string())),
        syn::UseTree::Rename(name) => found.push((with(before, &name.ident), name.rename.to_string())),
        syn::UseTree::Glob(_) => found.push((before.clone(), format!("{}::*", before.join("::")))),
        syn::UseTree::Group(group) => group.items.iter().for_each(|tree| spread(tree, before, found)),
    }
}

/// Whether an item is there for tests alone.
pub(super) fn is_test(attributes: &[syn::Attribute]) -> bool {
    let says_test = |attribute: &&syn::Attribute| match &attribute.meta {
        syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string().contains("test"),
        meta => meta.path().is_ident("test"),
    };
    attributes.iter().any(|attribute| says_test(&attribute))
}

fn imports(
    here: &Module,
    syntax: &syn::File,
    modules: &BTreeMap<Module, usize>,
    aliases: &BTreeMap<Module, Aliases>,
) -> BTreeMap<usize, BTreeSet<String>> {
    let mut paths = Paths::default();
    paths.visit_file(syntax);
    let own = &aliases[here];
    let mut found: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    let written = paths.0.iter().filter_map(|path| {
        let known = ["crate", "self", "super"].contains(&path[0].as_str()) || own.contains_key(&path[0]);
        absolute(here, Some(own), path).filter(|_| known || declares(syntax, &path[0]))
    });
    for path in written.chain(own.values().cloned()) {
        if let Some((at, name)) = home(path, modules, aliases) {
            found.entry(at).or_default().insert(name);
        }
    }
    found
}

/// The file that defines what is at `path`, and the name of that; a module counts as itself only if nothing in it is named.
fn home(mut path: Module, modules: &BTreeMap<Module, usize>, aliases: &BTreeMap<Module, Aliases>) -> Option<(usize, String)> {
    for _ in 0..8 {
        let deepest = (0..=path.len()).rev().find(|length| modules.contains_key(&path[..*length]))?;
        let (module, rest) = path.split_at(deepest);
        let Some((name, more)) = rest.split_first() else {
            // `use crate::store::jobs`: what is taken from it is seen where it is used.
            return None;
        };
        match aliases[module].get(name) {
            Some(target) if target[..] != path[..] => path = target.iter().chain(more).cloned().collect(),
            _ => return Some((modules[module], name.clone())),
        }
    }
    None
}

/// Every path of a file, those inside of macros too.
#[derive(Default)]
struct Paths(Vec<Module>);

impl Visit<'_> for Paths {
    fn visit_item_mod(&mut self, item: &syn::ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &syn::ItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_path(&mut self, path: &syn::Path) {
        self.0.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, mac: &syn::Macro) {
        self.tokens(mac.tokens.clone());
        visit::visit_macro(self, mac);
    }
}

impl Paths {
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path = Module::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.end(&mut path);
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' => colons += 1,
                other => {
                    self.end(&mut path);
                    colons = 0;
                    if let TokenTree::Group(group) = other
                        && (group.delimiter() != Delimiter::None || !group.stream().is_empty())
                    {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.end(&mut path);
    }

    fn end(&mut self, path: &mut Module) {
        if !path.is_empty() {
            self.0.push(std::mem::take(path));
        }
    }
}
