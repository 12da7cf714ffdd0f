//! The tree that a package will become, worked out in memory before a byte is written. Called by `unpack`.
//!
//! Every name is checked here, and every symbolic link is followed here, so that what is written afterwards cannot
//! leave the tree: no part of a path is a link, and no link leads out.

use super::{Error, invalid, quoted};
use std::{cell::Cell, collections::HashMap};

/// Longest path. Shorter than Linux's 4,096 bytes, so that a tree fits below any data folder.
pub(super) const PATH_BYTES_MAX: usize = 3_072;
/// Longest name on common file systems.
pub(super) const NAME_BYTES_MAX: usize = 255;
/// Deepest folder. Removing a tree holds one open file per level.
pub(super) const DEPTH_MAX: usize = 128;
/// Links that one path may lead through, as in Linux.
const LINKS_MAX: usize = 40;
/// Steps that following all links may take. A package may hold 200,000 links, each through 40 others.
const STEPS_MAX: u32 = 10_000_000;

/// The root's index in `Plan::nodes`.
pub(super) const ROOT: usize = 0;

/// Files, folders and links. A parent always comes before what is in it.
#[derive(Debug)]
pub(super) struct Plan {
    pub nodes: Vec<Node>,
    nodes_max: u64,
}

#[derive(Debug)]
pub(super) struct Node {
    pub parent: usize,
    pub name: String,
    pub kind: Kind,
    children: HashMap<String, usize>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Folder,
    /// The content of this entry of the archive.
    File {
        entry: usize,
    },
    /// A symbolic link with this target.
    Link {
        target: String,
    },
}

impl Plan {
    /// An empty tree that will hold at most `nodes_max` files, folders and links.
    pub fn new(nodes_max: u64) -> Self {
        let root = Node { parent: ROOT, name: String::new(), kind: Kind::Folder, children: HashMap::new() };
        Self { nodes: vec![root], nodes_max }
    }

    /// Adds what the archive calls `path`, and the folders above it. A folder's path ends in `/`.
    pub fn add(&mut self, path: &str, kind: Kind) -> Result<(), Error> {
        let names = names(path)?;
        let Some((last, folders)) = names.split_last() else {
            return if kind == Kind::Folder {
                Ok(())
            } else {
                Err(invalid(format!("{} is not a file name", quoted(path))))
            };
        };
        let mut parent = ROOT;
        for name in folders {
            parent = self.child(parent, name, Kind::Folder, path)?;
        }
        let is_folder = kind == Kind::Folder;
        let nodes = self.nodes.len();
        self.child(parent, last, kind, path)?;
        if !is_folder && self.nodes.len() == nodes {
            return Err(invalid(format!("{} is there twice", quoted(path))));
        }
        Ok(())
    }

    /// The child of `parent` with that name; made when missing.
    fn child(&mut self, parent: usize, name: &str, kind: Kind, path: &str) -> Result<usize, Error> {
        if let Some(index) = self.lookup(parent, name) {
            if kind == Kind::Folder && self.nodes[index].kind != Kind::Folder {
                return Err(invalid(format!("a part of {} is a file or a link and also a folder", quoted(path))));
            }
            return Ok(index);
        }
        // Folders that only paths imply count too: one long name makes a hundred of them.
        if self.nodes.len() as u64 > self.nodes_max {
            return Err(invalid(format!("more than {} files and folders", self.nodes_max)));
        }
        let index = self.nodes.len();
        self.nodes.push(Node { parent, name: name.to_owned(), kind, children: HashMap::new() });
        self.nodes[parent].children.insert(name.to_owned(), index);
        Ok(index)
    }

    /// Path of a node, relative to the tree's root.
    pub fn path(&self, mut index: usize) -> String {
        let mut names = Vec::new();
        while index != ROOT {
            names.push(self.nodes[index].name.as_str());
            index = self.nodes[index].parent;
        }
        names.reverse();
        names.join("/")
    }

    /// The node of that name in a folder.
    pub fn lookup(&self, parent: usize, name: &str) -> Option<usize> {
        self.nodes[parent].children.get(name).copied()
    }

    /// Follows every link through the whole tree, and refuses those that lead out of it at any step. A link to nothing
    /// is allowed: it leads nowhere, as in a package that Lambda accepts.
    pub fn check_links(&self) -> Result<(), Error> {
        let steps = Cell::new(0);
        for (index, node) in self.nodes.iter().enumerate() {
            if let Kind::Link { target } = &node.kind {
                self.follow(node.parent, target, &steps).map_err(|reason| {
                    let (path, target) = (quoted(&self.path(index)), quoted(target));
                    invalid(format!("the symbolic link {path} to {target} {reason}"))
                })?;
            }
        }
        Ok(())
    }

    fn follow(&self, folder: usize, target: &str, steps: &Cell<u32>) -> Result<(), &'static str> {
        let mut at = folder;
        let mut links = 0;
        let mut ahead: Vec<&str> = Vec::new();
        push_target(&mut ahead, target)?;
        while let Some(name) = ahead.pop() {
            steps.set(steps.get() + 1);
            if steps.get() > STEPS_MAX {
                return Err("is one of too many");
            }
            match name {
                "" | "." => {}
                ".." if at == ROOT => return Err("leads out of the package"),
                ".." => at = self.nodes[at].parent,
                name => {
                    // Beyond what exists, the kernel stops; so nothing behind it matters.
                    let Some(next) = self.lookup(at, name) else { return Ok(()) };
                    match &self.nodes[next].kind {
                        Kind::Folder => at = next,
                        Kind::File { .. } => return Ok(()),
                        Kind::Link { target } => {
                            links += 1;
                            if links > LINKS_MAX {
                                return Err("leads through too many links");
                            }
                            push_target(&mut ahead, target)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

fn push_target<'a>(ahead: &mut Vec<&'a str>, target: &'a str) -> Result<(), &'static str> {
    if target.is_empty() || target.contains('\0') {
        return Err("is not a path");
    }
    if target.starts_with('/') {
        return Err("is absolute");
    }
    ahead.extend(target.rsplit('/'));
    Ok(())
}

/// The names that a path of the archive is made of. `.` is dropped, since some tools write `./name`.
fn names(path: &str) -> Result<Vec<&str>, Error> {
    let refuse = |reason: &str| Err(invalid(format!("the name {} {reason}", quoted(path))));
    if path.len() > PATH_BYTES_MAX {
        return refuse("is too long");
    }
    if path.contains('\0') {
        return refuse("has a NUL byte");
    }
    if path.contains('\\') {
        return refuse("has a backslash");
    }
    if path.starts_with('/') || matches!(path.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic()) {
        return refuse("is absolute");
    }
    let mut names = Vec::new();
    for name in path.strip_suffix('/').unwrap_or(path).split('/') {
        match name {
            "" => return refuse("has an empty part"),
            "." => {}
            ".." => return refuse("has a part that is `..`"),
            name if name.len() > NAME_BYTES_MAX => return refuse("has a part that is too long"),
            name => names.push(name),
        }
    }
    if names.len() > DEPTH_MAX {
        return refuse("is too deep");
    }
    Ok(names)
}
