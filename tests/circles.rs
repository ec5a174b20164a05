//! Circles of imports: files of a crate that can only be understood together.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The most files of a crate that may import each other in a circle.
const LARGEST: usize = 2;

/// A module by the names that lead to it from the root of its crate.
type Module = Vec<String>;

/// The code of every module of a crate, without its tests.
fn modules(folder: &Path) -> BTreeMap<Module, String> {
    fn visit(folder: &Path, at: &[String], found: &mut BTreeMap<Module, String>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let mut module = at.to_vec();
            if path.is_dir() {
                module.push(name);
                visit(&path, &module, found);
            } else if path.extension().is_some_and(|e| e == "rs") && name != "tests" {
                if !["lib", "main", "mod"].contains(&name.as_str()) {
                    module.push(name);
                }
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
                let lines = code.lines().map(|l| l.split("//").next().unwrap());
                found.insert(module, lines.collect::<Vec<_>>().join("\n"));
            }
        }
    }
    let mut found = BTreeMap::new();
    visit(folder, &[], &mut found);
    found
}

/// Every path of a `use` declaration, braces resolved; `as` and `*` left out.
fn used(declaration: &str) -> Vec<Module> {
    fn expand(before: &[String], text: &str, paths: &mut Vec<Module>) {
        let (mut depth, mut start) = (0, 0);
        let mut items = Vec::new();
        for (i, c) in text.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    items.push(&text[start..i]);
                    start = i + 1;
                }
                _ => {}
            }
        }
        items.push(&text[start..]);
        for item in items.into_iter().map(str::trim).filter(|i| !i.is_empty()) {
            let (head, inner) = match item.split_once('{') {
                Some((head, inner)) => (head, inner.strip_suffix('}')),
                None => (item, None),
            };
            let head = head.split(" as ").next().unwrap();
            let names = head.split("::").map(str::trim);
            let names = names.filter(|n| !n.is_empty() && !["*", "self"].contains(n));
            let path: Module = before
                .iter()
                .cloned()
                .chain(names.map(str::to_owned))
                .collect();
            match inner {
                Some(inner) => expand(&path, inner, paths),
                None => paths.push(path),
            }
        }
    }
    let mut paths = Vec::new();
    expand(&[], declaration, &mut paths);
    paths
}

/// The `use` declarations of a text, and whether each re-exports.
fn declarations(code: &str) -> impl Iterator<Item = (bool, &str)> {
    code.split(';').filter_map(|statement| {
        let start = statement.rfind("use ")?;
        let before = statement[..start].trim_end_matches(|c| " \t".contains(c));
        let public = before.ends_with("pub") || before.ends_with("pub(crate)");
        let declares = public || before.is_empty() || before.ends_with(['\n', '}', '{', ']']);
        declares.then(|| (public, statement[start + 4..].trim()))
    })
}

/// Paths in the code that begin with `crate::` or `super::`, outside `use` declarations too.
fn inline(code: &str) -> impl Iterator<Item = Module> {
    ["crate::", "super::"].into_iter().flat_map(move |root| {
        code.match_indices(root).map(move |(at, _)| {
            let end = |c: char| !(c.is_alphanumeric() || c == '_' || c == ':');
            let path = code[at..].split(end).next().unwrap();
            path.split("::")
                .filter(|n| !n.is_empty())
                .map(str::to_owned)
                .collect()
        })
    })
}

/// What a module re-exports: name → the path behind it.
fn reexports(module: &Module, code: &str) -> BTreeMap<String, Module> {
    let of_module = |path: Module| Some((path.last()?.clone(), absolute(module, &path)));
    declarations(code)
        .filter(|(public, _)| *public)
        .flat_map(|(_, declaration)| used(declaration))
        .filter_map(of_module)
        .collect()
}

/// A path from the root of the crate; paths to other crates come out as modules that do not exist.
fn absolute(module: &[String], path: &[String]) -> Module {
    match path.split_first() {
        Some((first, rest)) if first == "crate" => rest.to_vec(),
        Some((first, rest)) if first == "super" && !module.is_empty() => {
            absolute(&module[..module.len() - 1], rest)
        }
        _ => module.iter().chain(path).cloned().collect(),
    }
}

/// A crate's modules and what each re-exports.
struct Crate {
    code: BTreeMap<Module, String>,
    behind: BTreeMap<Module, BTreeMap<String, Module>>,
}

impl Crate {
    fn read(folder: &Path) -> Self {
        let code = modules(folder);
        let of_module =
            |(module, code): (&Module, &String)| (module.clone(), reexports(module, code));
        let behind = code.iter().map(of_module).collect();
        Self { code, behind }
    }

    /// The module in which the thing at the end of a path is written.
    fn home(&self, path: &[String]) -> Module {
        let mut at = Module::new();
        for (i, name) in path.iter().enumerate() {
            let child: Module = at.iter().chain([name]).cloned().collect();
            if self.code.contains_key(&child) {
                at = child;
            } else if let Some(target) = self.behind.get(&at).and_then(|names| names.get(name))
                && *target != child
            {
                let rest = &path[i + 1..];
                return self.home(&target.iter().chain(rest).cloned().collect::<Module>());
            } else {
                return at;
            }
        }
        at
    }

    /// The modules that a module imports from.
    fn imports(&self, module: &Module) -> BTreeSet<Module> {
        let code = &self.code[module];
        let of_own = |path: &Module| {
            let child: Module = module.iter().chain(path.first()).cloned().collect();
            ["crate", "super"].contains(&path[0].as_str()) || self.code.contains_key(&child)
        };
        let declared = declarations(code)
            .filter(|(public, _)| !public)
            .flat_map(|(_, declaration)| used(declaration));
        let paths = declared.chain(inline(code).filter(|p| p.len() > 1));
        let homes = paths
            .filter(of_own)
            .map(|path| self.home(&absolute(module, &path)));
        homes.filter(|home| home != module).collect()
    }

    /// Modules that can be reached from each, itself only through a circle.
    fn reached(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        let imports: BTreeMap<&Module, BTreeSet<Module>> =
            self.code.keys().map(|m| (m, self.imports(m))).collect();
        let from = |module: &&Module| {
            let mut reached = BTreeSet::new();
            let mut waiting: Vec<Module> = imports[*module].iter().cloned().collect();
            while let Some(next) = waiting.pop() {
                if reached.insert(next.clone()) {
                    waiting.extend(imports.get(&next).into_iter().flatten().cloned());
                }
            }
            reached
        };
        imports.keys().map(|m| (*m, from(m))).collect()
    }

    /// The largest set of modules each of which reaches all others.
    fn largest_circle(&self) -> Vec<String> {
        let reached = self.reached();
        let circle = |module: &&Module| -> Vec<String> {
            let meets = |other: &Module| {
                reached[*module].contains(other) && reached[other].contains(*module)
            };
            let others = reached.keys().filter(|other| meets(other));
            others.map(|m| m.join("::")).collect()
        };
        let circles = reached.keys().map(circle);
        circles.max_by_key(Vec::len).unwrap_or_default()
    }
}

#[test]
fn no_circle_of_imports_is_larger_than_two_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crates = fs::read_dir(root.join("crates")).unwrap();
    let crates = crates.map(|entry| entry.unwrap().path());
    for folder in crates.chain([root.to_owned()]).map(|path| path.join("src")) {
        let circle = Crate::read(&folder).largest_circle();
        assert!(
            circle.len() <= LARGEST,
            "{}: these {} files import each other in a circle: {}",
            folder.display(),
            circle.len(),
            circle.join(", ")
        );
    }
}

#[test]
fn a_circle_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write(
        "lib.rs",
        "mod a;\nmod b;\nmod c;\npub use c::{Nine, self};\n",
    );
    write("a.rs", "use crate::b::One;\nuse std::{fmt, io};\n");
    write("b.rs", "fn f(n: crate::Nine) -> u8 { n.0 }\n");
    write(
        "c.rs",
        "//! crate::a::No\nuse super::{a::{Two as Three}};\n",
    );
    write(
        "d.rs",
        "use crate::a;\n#[cfg(test)]\nmod tests { use super::*; }\n",
    );
    let circle = Crate::read(folder.path()).largest_circle();
    assert_eq!(circle, ["a", "b", "c"]);
}
