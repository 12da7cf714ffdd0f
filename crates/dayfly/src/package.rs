//! Makes a code package of a folder or a file: the same bytes for the same files, so that the same code is stored once.
//! Used by `deploy` and `demo`.

use crate::entry::{self, Language};
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    io::{self, Cursor, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use thiserror::Error;
use zip::{CompressionMethod, DateTime, ZipWriter, write::SimpleFileOptions};

/// A package and what was found out about it.
#[derive(Debug)]
pub struct Package {
    /// The zip.
    pub zip: Bytes,
    /// Number of files in it.
    pub files: usize,
    /// `module.function` and its language, when one was found by convention.
    pub entry: Option<(String, Language)>,
    /// The folder's or file's name, made into a function name.
    pub name: Option<String>,
}

/// Why there is no package.
#[derive(Debug, Error)]
pub enum Error {
    /// A file operation failed.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not a folder and not a file of code.
    #[error("{0} is neither a folder nor a .py or .js file")]
    NotCode(PathBuf),
    /// Nothing is left after the excludes.
    #[error("{0} holds no files to deploy")]
    Empty(PathBuf),
    /// A link that leads out of the folder would not mean the same on the server.
    #[error("{0} is a symbolic link that leads out of the folder: copy the file, or exclude it in .dayflyignore")]
    LinkOut(PathBuf),
    /// A file name is not UTF-8.
    #[error("{0:?}: file names must be UTF-8")]
    Name(PathBuf),
    /// The zip could not be written.
    #[error("the package could not be made: {0}")]
    Zip(#[from] zip::result::ZipError),
}

/// What never goes along.
const ALWAYS_EXCLUDED: [&str; 11] = [
    ".git/",
    ".hg/",
    ".venv/",
    "venv/",
    "__pycache__/",
    "*.pyc",
    ".pytest_cache/",
    ".mypy_cache/",
    ".ruff_cache/",
    ".dayflyignore",
    ".gitignore",
];

/// Packs `path` with further files; of two with one name, the folder's own is taken.
pub fn pack_with(path: &Path, further: &[(&str, &str)]) -> Result<Package, Error> {
    let root = path.canonicalize().map_err(at(path))?;
    let name = root.file_stem().and_then(|stem| stem.to_str()).and_then(function_name);
    let files = files(&root)?;
    let entry = entry::find(&root);
    if files.is_empty() {
        return Err(Error::Empty(path.to_owned()));
    }
    let contents = files.iter().map(|(name, path)| {
        let content = std::fs::read(path).map_err(at(path))?;
        let executable = path.metadata().map_err(at(path))?.permissions().mode() & 0o111 != 0;
        Ok((name.clone(), content, executable))
    });
    let further = further.iter().filter(|(name, _)| !files.contains_key(*name));
    let further = further.map(|(name, text)| Ok(((*name).to_owned(), text.as_bytes().to_vec(), false)));
    Ok(Package { zip: zip(contents.chain(further))?, files: files.len(), entry, name })
}

/// The files below a folder that go along, by their path in it; or the one file.
pub fn files(root: &Path) -> Result<BTreeMap<String, PathBuf>, Error> {
    let mut files = BTreeMap::new();
    if root.is_dir() {
        let excludes = Excludes::read(root)?;
        collect(root, root, &excludes, &mut files)?;
    } else if entry::is_code(root) {
        let file = root.file_name().and_then(|name| name.to_str()).ok_or_else(|| Error::Name(root.to_owned()))?;
        files.insert(file.to_owned(), root.to_owned());
    } else {
        return Err(Error::NotCode(root.to_owned()));
    }
    Ok(files)
}

/// A zip of `(name, content, executable)`, each dated 1980-01-01 so that only the content decides the bytes.
pub fn zip(files: impl Iterator<Item = Result<(String, Vec<u8>, bool), Error>>) -> Result<Bytes, Error> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for file in files {
        let (name, content, executable) = file?;
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .last_modified_time(DateTime::default())
            .unix_permissions(if executable { 0o755 } else { 0o644 });
        writer.start_file(name, options)?;
        writer.write_all(&content).map_err(zip::result::ZipError::Io)?;
    }
    Ok(writer.finish()?.into_inner().into())
}

fn collect(
    root: &Path,
    folder: &Path,
    excludes: &Excludes,
    files: &mut BTreeMap<String, PathBuf>,
) -> Result<(), Error> {
    for entry in std::fs::read_dir(folder).map_err(at(folder))? {
        let path = entry.map_err(at(folder))?.path();
        let relative = path.strip_prefix(root).ok().and_then(Path::to_str).ok_or_else(|| Error::Name(path.clone()))?;
        let is_link = path.is_symlink();
        if excludes.match_path(relative, path.is_dir()) {
            continue;
        }
        if is_link {
            let aim = path.canonicalize().map_err(at(&path))?;
            // A link to a folder would be walked twice, or for ever.
            if !aim.starts_with(root) || aim.is_dir() {
                return Err(Error::LinkOut(path));
            }
        }
        if path.is_dir() {
            collect(root, &path, excludes, files)?;
        } else if path.is_file() {
            files.insert(relative.to_owned(), path);
        }
    }
    Ok(())
}

/// Characters that a function name cannot have become dashes.
fn function_name(text: &str) -> Option<String> {
    let name: String =
        text.chars().take(64).map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
    (!name.trim_matches('-').is_empty()).then(|| name.trim_matches('-').to_owned())
}

/// Patterns like `.gitignore`'s, without negation: `*` within a name, `**/`, a leading `/` for the root, a trailing `/`
/// for folders.
struct Excludes(Vec<Pattern>);

struct Pattern {
    text: String,
    anchored: bool,
    folders_only: bool,
}

impl Excludes {
    fn read(root: &Path) -> Result<Self, Error> {
        let mut patterns: Vec<Pattern> = ALWAYS_EXCLUDED.iter().filter_map(|line| Pattern::parse(line)).collect();
        for name in [".dayflyignore", ".gitignore"] {
            let path = root.join(name);
            match std::fs::read_to_string(&path) {
                Ok(text) => patterns.extend(text.lines().filter_map(Pattern::parse)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::File { path, source }),
            }
        }
        Ok(Self(patterns))
    }

    fn match_path(&self, relative: &str, is_folder: bool) -> bool {
        let name = relative.rsplit('/').next().unwrap_or(relative);
        self.0.iter().any(|pattern| {
            (!pattern.folders_only || is_folder)
                && like(pattern.text.as_bytes(), if pattern.anchored { relative } else { name }.as_bytes())
        })
    }
}

impl Pattern {
    fn parse(line: &str) -> Option<Self> {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with(['#', '!']) {
            return None;
        }
        let folders_only = line.ends_with('/');
        let text = line.trim_end_matches('/');
        let text = text.strip_prefix("**/").filter(|rest| !rest.contains('/')).unwrap_or(text);
        let anchored = text.contains('/');
        let text = text.trim_start_matches('/').to_owned();
        (!text.is_empty()).then_some(Self { text, anchored, folders_only })
    }
}

/// Shell-like match: `*` and `?` stop at a slash, `**` does not. Linear in the text for each star.
fn like(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', b'*', b'/', rest @ ..] if like(rest, text) => true,
        [b'*', b'*', rest @ ..] => {
            (0..=text.len()).any(|skip| like(rest.strip_prefix(b"/").unwrap_or(rest), &text[skip..]))
        }
        [b'*', rest @ ..] => {
            let end = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
            (0..=end).any(|skip| like(rest, &text[skip..]))
        }
        [b'?', rest @ ..] => text.first().is_some_and(|byte| *byte != b'/') && like(rest, &text[1..]),
        [byte, rest @ ..] => text.first() == Some(byte) && like(rest, &text[1..]),
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        folder
    }

    fn names(package: &Package) -> Vec<String> {
        let archive = zip::ZipArchive::new(Cursor::new(package.zip.to_vec())).unwrap();
        let mut names: Vec<String> = archive.file_names().map(|name| name.unwrap().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_packs_to_the_same_bytes_wherever_and_whenever_it_lies() {
        let files = [("app.py", "def handler(event, context):\n    return 1\n"), ("lib/data.txt", "x")];
        let (one, other) = (folder(&files), folder(&files));
        let package = pack_with(one.path(), &[]).unwrap();
        assert_eq!(package.zip, pack_with(other.path(), &[]).unwrap().zip);
        assert_eq!(package.entry, Some(("app.handler".to_owned(), Language::Python)));
        assert_eq!(names(&package), ["app.py", "lib/data.txt"]);
    }

    #[test]
    fn excludes_are_respected() {
        let files = [
            ("main.py", "lambda_handler = lambda e, c: 1\n"),
            (".git/config", ""),
            ("pkg/__pycache__/x.pyc", ""),
            ("pkg/keep.py", ""),
            ("data/big.bin", ""),
            ("notes.tmp", ""),
            ("deep/a/b/secret.key", ""),
            (".dayflyignore", "# comment\n/data/\n*.tmp\ndeep/**/secret.*\n"),
        ];
        let package = pack_with(folder(&files).path(), &[]).unwrap();
        assert_eq!(names(&package), ["main.py", "pkg/keep.py"]);
        assert_eq!(package.entry, Some(("main.lambda_handler".to_owned(), Language::Python)));
    }

    #[test]
    fn links_out_of_the_folder_and_things_that_are_no_code_are_refused() {
        let code = folder(&[("app.py", "")]);
        let outside = folder(&[("secret.txt", "")]);
        std::os::unix::fs::symlink(outside.path().join("secret.txt"), code.path().join("link")).unwrap();
        assert!(matches!(pack_with(code.path(), &[]), Err(Error::LinkOut(_))));
        let text = folder(&[("a.txt", "")]);
        assert!(matches!(pack_with(&text.path().join("a.txt"), &[]), Err(Error::NotCode(_))));
        assert!(matches!(pack_with(folder(&[]).path(), &[]), Err(Error::Empty(_))));
        assert!(matches!(pack_with(Path::new("/nonexistent"), &[]), Err(Error::File { .. })));
    }

    #[test]
    fn names_are_made_of_what_a_function_name_may_have() {
        assert_eq!(function_name("my.app v2").as_deref(), Some("my-app-v2"));
        assert_eq!(function_name("..."), None);
        assert_eq!(function_name(&"x".repeat(99)).unwrap().len(), 64);
    }
}
