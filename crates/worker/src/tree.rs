//! Trees of files that never change: looked over, and put together by hard links instead of copies. Called by the code
//! cache (layers) and by environments.

use rustix::io::Errno;
use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

/// Deepest nesting that is followed.
const DEPTH_MAX: usize = 256;

/// Beginning of the names of trees that are not complete.
pub const TEMPORARY: &str = ".part-";

/// Opens a folder of trees, which is made if it is missing, and removes those that were interrupted.
///
/// # Errors
/// When the folder cannot be made or read.
pub fn open_folder(folder: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let folder = folder.canonicalize()?;
    for entry in fs::read_dir(&folder)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(folder)
}

/// What is in a tree.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes of files that no other tree has.
    pub own_bytes: u64,
    /// Files and links.
    pub files: u64,
    /// Python sources (`*.py`, no links), relative to the tree.
    pub sources: Vec<PathBuf>,
}

/// Looks at every file below `tree`, and makes sure that everybody may read it and nobody but its owner change it.
/// `names` is how many names a file has that no other tree shares.
///
/// # Errors
/// What the disk says; a device, a pipe or a socket.
pub fn survey(tree: &Path, names: u64) -> io::Result<Contents> {
    let mut contents = Contents::default();
    each(tree, &mut |relative, metadata| {
        let path = tree.join(relative);
        let (mode, kind) = (metadata.mode() & 0o7777, metadata.file_type());
        if kind.is_symlink() {
            contents.files += 1;
            return Ok(());
        }
        if !kind.is_dir() && !kind.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} is no file", relative.display())));
        }
        let wanted = if kind.is_dir() || mode & 0o111 != 0 { 0o755 } else { 0o644 };
        if mode != wanted {
            fs::set_permissions(&path, Permissions::from_mode(wanted))?;
        }
        if kind.is_file() {
            contents.files += 1;
            contents.bytes += metadata.len();
            contents.own_bytes += if metadata.nlink() <= names { metadata.len() } else { 0 };
            if relative.extension().is_some_and(|extension| extension == "py") {
                contents.sources.push(relative.to_owned());
            }
        }
        Ok(())
    })?;
    contents.sources.sort();
    Ok(contents)
}

/// Lays the tree `from` over the tree `onto`: its files get a second name there, and win over what is there already.
/// Where the file system cannot link (another one, too many names), the file is copied.
///
/// # Errors
/// What the disk says.
pub fn lay_over(from: &Path, onto: &Path) -> io::Result<()> {
    fs::create_dir_all(onto)?;
    each(from, &mut |relative, metadata| {
        let (source, target) = (from.join(relative), onto.join(relative));
        let there = match fs::symlink_metadata(&target) {
            Ok(there) => Some(there.file_type()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if metadata.is_dir() {
            // Folders that meet become one. Anything else in the place of a folder makes room for it.
            match there {
                Some(kind) if kind.is_dir() => return Ok(()),
                Some(_) => fs::remove_file(&target)?,
                None => {}
            }
            fs::create_dir(&target)?;
            return fs::set_permissions(&target, Permissions::from_mode(0o755));
        }
        match there {
            Some(kind) if kind.is_dir() => fs::remove_dir_all(&target)?,
            Some(_) => fs::remove_file(&target)?,
            None => {}
        }
        if metadata.is_symlink() {
            return symlink(fs::read_link(&source)?, &target);
        }
        match fs::hard_link(&source, &target) {
            Err(error)
                if [Errno::MLINK, Errno::XDEV, Errno::PERM]
                    .iter()
                    .any(|e| error.raw_os_error() == Some(e.raw_os_error())) =>
            {
                fs::copy(&source, &target).map(|_| ())
            }
            linked => linked,
        }
    })
}

/// Visits everything below `tree`, folders before what is in them, without following links.
pub fn each(tree: &Path, visit: &mut dyn FnMut(&Path, &fs::Metadata) -> io::Result<()>) -> io::Result<()> {
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        if folder.components().count() > DEPTH_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "folders are nested too deeply"));
        }
        for entry in fs::read_dir(tree.join(&folder))? {
            let entry = entry?;
            let relative = folder.join(entry.file_name());
            let metadata = match entry.metadata() {
                // Taken away meanwhile, for example by another build.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata?,
            };
            visit(&relative, &metadata)?;
            if metadata.is_dir() {
                folders.push(relative);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, text: &str) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_tree_over_another_wins_and_neither_changes() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two, both] = ["one", "two", "both"].map(|name| folder.path().join(name));
        write(&one, "a/x", "1");
        write(&one, "a/only", "1");
        write(&one, "folder/in", "1");
        write(&one, "file", "1");
        write(&two, "a/x", "2");
        write(&two, "folder", "2");
        write(&two, "file/in", "2");
        symlink("a/x", two.join("link")).unwrap();
        lay_over(&one, &both).unwrap();
        lay_over(&two, &both).unwrap();
        let read = |tree: &Path, name: &str| fs::read_to_string(tree.join(name)).unwrap();
        assert_eq!(
            [read(&both, "a/x"), read(&both, "a/only"), read(&both, "folder"), read(&both, "file/in")],
            ["2", "1", "2", "2"]
        );
        assert_eq!([read(&one, "a/x"), read(&one, "file"), read(&both, "link")], ["1", "1", "2"]);
        assert_eq!(fs::metadata(both.join("a/only")).unwrap().nlink(), 2, "it is not a copy");
        let contents = survey(&both, 1).unwrap();
        assert_eq!((contents.files, contents.bytes, contents.own_bytes), (5, 4, 0));
    }

    #[test]
    fn everybody_may_read_and_nobody_change() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "p/secret.py", "x");
        write(folder.path(), "p/run", "x");
        let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().mode() & 0o7777;
        for (name, mode) in [("p/secret.py", 0o600), ("p/run", 0o6777), ("p", 0o700)] {
            fs::set_permissions(folder.path().join(name), Permissions::from_mode(mode)).unwrap();
        }
        let contents = survey(folder.path(), 1).unwrap();
        assert_eq!(contents.sources, [Path::new("p/secret.py")]);
        assert_eq!([mode("p/secret.py"), mode("p/run"), mode("p")], [0o644, 0o755, 0o755]);
    }
}
