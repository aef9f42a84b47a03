//! Which files are below a directory, and which of them changed since they were read last.
//!
//! Files are compared by what `stat` says, so that looking costs little. Symbolic links to files are
//! followed, those to directories are not (they could lead in circles); names that begin with a dot are
//! skipped. A directory that cannot be listed says nothing about what is in it.

#![expect(
    clippy::disallowed_methods,
    reason = "driver: lists directories, reads files and the clock"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A directory as it was when it was read last.
pub(super) struct Tree {
    root: PathBuf,
    /// Below the root, but not part of it.
    except: Option<PathBuf>,
    extensions: &'static [&'static str],
    known: Snapshot,
}

/// How a directory differs from what was known.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// Files to read, by their path from the root, sorted.
    pub(super) changed: Vec<String>,
    /// Files that are gone.
    pub(super) removed: Vec<String>,
    /// Directories that can be listed again.
    pub(super) listed: Vec<String>,
    /// Directories that cannot be listed, and why; the root is `.`.
    pub(super) unlisted: Vec<(String, String)>,
}

#[derive(Default)]
struct Snapshot {
    files: BTreeMap<String, Found>,
    folders: BTreeMap<PathBuf, Identity>,
    unlisted: BTreeMap<String, String>,
}

struct Found {
    path: PathBuf,
    /// None: it cannot even be asked.
    stamp: Option<Stamp>,
    /// It was written just before it was read: a later write may carry the same stamp.
    is_fresh: bool,
}

/// A file's identity and times; equal stamps mean equal contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    identity: Identity,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Device and inode.
pub(super) type Identity = (u64, u64);

/// Nobody writes a manifest of this size; a device or a log may have it.
const SIZE_LIMIT: u64 = 64 << 20;

/// Time stamps may be this coarse, or the clock of a server this far off.
const FRESH: Duration = Duration::from_secs(2);

/// Deeper than anybody sorts manifests.
const DEPTH_LIMIT: usize = 64;

impl Tree {
    /// A directory of which nothing is known yet.
    pub(super) fn new(
        root: PathBuf,
        except: Option<PathBuf>,
        extensions: &'static [&'static str],
    ) -> Self {
        Self {
            root,
            except,
            extensions,
            known: Snapshot::default(),
        }
    }

    /// Whether a change of this path is one of the directory.
    pub(super) fn concerns(&self, path: &Path) -> bool {
        let is_excepted = || {
            let except = self.except.as_ref();
            except.is_some_and(|except| path.starts_with(except))
        };
        self.root.starts_with(path) || path.starts_with(&self.root) && !is_excepted()
    }

    /// Whether the root exists.
    pub(super) fn is_there(&self) -> bool {
        self.root.exists()
    }

    /// The path of something below the root.
    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        if name == "." {
            return self.root.clone();
        }
        self.root.join(name)
    }

    /// Directories whose entries matter: the root, those below, and where the root would appear.
    pub(super) fn folders(&self) -> &BTreeMap<PathBuf, Identity> {
        &self.known.folders
    }

    /// Whether an update would find a difference.
    pub(super) fn looks_different(&self) -> bool {
        let now = self.walk();
        let same_files = now.files.len() == self.known.files.len()
            && now.files.iter().zip(&self.known.files).all(
                |((name, found), (known_name, known))| {
                    name == known_name && found.stamp == known.stamp && !known.is_fresh
                },
            );
        !same_files || now.folders != self.known.folders || now.unlisted != self.known.unlisted
    }

    /// Takes note of how the directory is now. Files among `touched` are read again even if they look
    /// the same.
    pub(super) fn update(&mut self, touched: &BTreeSet<PathBuf>) -> Difference {
        let mut now = self.walk();
        let known = std::mem::take(&mut self.known);
        let is_changed = |(name, found): &(&String, &Found)| {
            let before = known.files.get(*name);
            before.is_none_or(|before| before.stamp != found.stamp || before.is_fresh)
                || touched.contains(&found.path)
        };
        let mut difference = Difference {
            changed: names(now.files.iter().filter(is_changed)),
            removed: Vec::new(),
            listed: Vec::new(),
            unlisted: now.unlisted.clone().into_iter().collect(),
        };
        let back = |folder: &String| !now.unlisted.contains_key(folder);
        difference.listed = known.unlisted.into_keys().filter(back).collect();
        for (name, found) in known.files {
            if now.files.contains_key(&name) {
                continue;
            }
            if now.is_hidden(&name) {
                now.files.insert(name, found);
            } else {
                difference.removed.push(name);
            }
        }
        self.known = now;
        difference
    }

    /// The contents of a file that an update named.
    pub(super) fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        let path = &self.known.files[name].path;
        let read = || {
            // Opening a pipe would wait for somebody to write into it.
            if !fs::metadata(path)?.is_file() {
                return Ok(Err("is no regular file: remove or rename it".to_owned()));
            }
            let mut bytes = Vec::new();
            File::open(path)?
                .take(SIZE_LIMIT + 1)
                .read_to_end(&mut bytes)?;
            Ok(if bytes.len() as u64 > SIZE_LIMIT {
                Err("is larger than 64 MiB: split it".to_owned())
            } else {
                Ok(bytes)
            })
        };
        read().unwrap_or_else(|error: io::Error| Err(format!("cannot be read: {error}")))
    }

    fn walk(&self) -> Snapshot {
        let now = SystemTime::now();
        let mut snapshot = Snapshot::default();
        if let Some(above) = self.root.ancestors().skip(1).find(|above| above.is_dir()) {
            snapshot.folder(above);
        }
        // By whatever way it is named: links may lead to it.
        let except = self.except.as_deref().and_then(identity);
        let mut open = vec![(self.root.clone(), String::new(), 0)];
        while let Some((folder, prefix, depth)) = open.pop() {
            if depth > 0 && except.is_some() && identity(&folder) == except {
                continue;
            }
            snapshot.folder(&folder);
            let listed = fs::read_dir(&folder).and_then(|entries| {
                entries
                    .map(|entry| {
                        entry.and_then(|entry| Ok((entry.file_name(), entry.file_type()?)))
                    })
                    .collect::<io::Result<Vec<_>>>()
            });
            let entries = match listed {
                Ok(entries) => entries,
                Err(error) => {
                    snapshot.unlisted(&prefix, error.to_string());
                    continue;
                }
            };
            for (name, type_) in entries {
                let path = folder.join(&name);
                let name = name.to_string_lossy();
                if name.starts_with('.') || self.except.as_ref() == Some(&path) {
                    continue;
                }
                let relative = format!("{prefix}{name}");
                if type_.is_dir() && depth < DEPTH_LIMIT {
                    open.push((path, format!("{relative}/"), depth + 1));
                } else if self.is_wanted(&name) {
                    snapshot.file(relative, path, now);
                }
            }
        }
        snapshot
    }

    fn is_wanted(&self, name: &str) -> bool {
        let extension = Path::new(name).extension().and_then(|text| text.to_str());
        extension.is_some_and(|extension| self.extensions.contains(&extension))
    }
}

fn identity(folder: &Path) -> Option<Identity> {
    let status = fs::metadata(folder).ok()?;
    Some((status.dev(), status.ino()))
}

impl Snapshot {
    fn folder(&mut self, path: &Path) {
        if let Some(identity) = identity(path) {
            self.folders.insert(path.to_owned(), identity);
        }
    }

    fn unlisted(&mut self, prefix: &str, why: String) {
        let folder = match prefix.trim_end_matches('/') {
            "" => ".",
            folder => folder,
        };
        let why = format!("cannot be listed: {why}");
        self.unlisted.insert(folder.to_owned(), why);
    }

    fn file(&mut self, name: String, path: PathBuf, now: SystemTime) {
        let status = fs::metadata(&path).ok();
        if status.as_ref().is_some_and(Metadata::is_dir) {
            return;
        }
        let is_fresh = |status: &Metadata| {
            let modified = status.modified().ok();
            let distance = modified.map(|modified| match now.duration_since(modified) {
                Ok(age) => age,
                Err(ahead) => ahead.duration(),
            });
            distance.is_some_and(|distance| distance < FRESH)
        };
        let found = Found {
            path,
            is_fresh: status.as_ref().is_some_and(is_fresh),
            stamp: status.as_ref().map(Stamp::of),
        };
        self.files.insert(name, found);
    }

    /// Whether the file would be below a directory that cannot be listed.
    fn is_hidden(&self, name: &str) -> bool {
        self.unlisted.keys().any(|folder| {
            let inside = name.strip_prefix(folder.as_str());
            folder == "." || inside.is_some_and(|rest| rest.starts_with('/'))
        })
    }
}

impl Stamp {
    fn of(status: &Metadata) -> Self {
        Self {
            identity: (status.dev(), status.ino()),
            size: status.size(),
            modified: (status.mtime(), status.mtime_nsec()),
            changed: (status.ctime(), status.ctime_nsec()),
        }
    }
}

fn names<'a>(files: impl Iterator<Item = (&'a String, &'a Found)>) -> Vec<String> {
    files.map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree(folder: &Path) -> Tree {
        Tree::new(folder.to_owned(), None, &["yaml", "yml"])
    }

    fn changed(tree: &mut Tree) -> Vec<String> {
        tree.update(&BTreeSet::new()).changed
    }

    fn write(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn yaml_files_at_any_depth_but_none_with_a_dot_in_front() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "a.yaml",
            "b/c/d.yml",
            "b.yaml/e.yaml",
            "f.json",
            "yaml",
            ".g.yaml",
            ".git/h.yaml",
            "b/.i/j.yaml",
        ] {
            write(folder.path().join(name), "");
        }
        let found = changed(&mut tree(folder.path()));
        assert_eq!(found, ["a.yaml", "b.yaml/e.yaml", "b/c/d.yml"]);
    }

    #[test]
    fn links_to_files_are_followed_and_links_to_directories_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        write(outside.path().join("text"), "x");
        symlink(outside.path().join("text"), folder.path().join("a.yaml")).unwrap();
        symlink(folder.path(), folder.path().join("loop")).unwrap();
        symlink(outside.path(), folder.path().join("dir.yaml")).unwrap();
        symlink("nowhere", folder.path().join("dangling.yaml")).unwrap();
        let mut tree = tree(folder.path());
        assert_eq!(changed(&mut tree), ["a.yaml", "dangling.yaml"]);
        assert_eq!(tree.read("a.yaml").unwrap(), b"x");
        assert!(tree.read("dangling.yaml").is_err());
    }

    #[test]
    fn special_and_huge_files_are_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe.yaml");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let huge = File::create(folder.path().join("huge.yaml")).unwrap();
        huge.set_len(SIZE_LIMIT + 1).unwrap();
        symlink("/dev/zero", folder.path().join("zero.yaml")).unwrap();
        let mut tree = tree(folder.path());
        assert_eq!(changed(&mut tree).len(), 3);
        for name in ["pipe.yaml", "zero.yaml"] {
            assert!(tree.read(name).unwrap_err().contains("regular"));
        }
        assert!(tree.read("huge.yaml").unwrap_err().contains("64 MiB"));
    }

    #[test]
    fn only_what_changed_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let old = SystemTime::UNIX_EPOCH;
        for name in ["a.yaml", "b.yaml", "c.yaml"] {
            write(folder.path().join(name), "x");
            let file = File::options().write(true).open(folder.path().join(name));
            file.unwrap().set_modified(old).unwrap();
        }
        let mut tree = tree(folder.path());
        assert_eq!(changed(&mut tree).len(), 3);
        assert!(!tree.looks_different());
        assert_eq!(tree.update(&BTreeSet::new()), Difference::default());
        write(folder.path().join("a.yaml"), "longer");
        fs::remove_file(folder.path().join("b.yaml")).unwrap();
        assert!(tree.looks_different());
        let touched = BTreeSet::from([folder.path().join("c.yaml")]);
        let difference = tree.update(&touched);
        assert_eq!(difference.changed, ["a.yaml", "c.yaml"]);
        assert_eq!(difference.removed, ["b.yaml"]);
    }

    #[test]
    fn a_file_written_just_before_it_was_read_is_read_once_more() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path().join("a.yaml"), "x");
        let mut tree = tree(folder.path());
        assert_eq!(changed(&mut tree), ["a.yaml"]);
        assert!(tree.looks_different());
        assert_eq!(changed(&mut tree), ["a.yaml"]);
    }

    #[test]
    fn a_directory_that_vanishes_says_nothing_about_its_files() {
        let above = tempfile::tempdir().unwrap();
        let root = above.path().join("manifests");
        write(root.join("a.yaml"), "x");
        let mut tree = tree(&root);
        changed(&mut tree);
        fs::remove_dir_all(&root).unwrap();
        assert!(tree.looks_different());
        let difference = tree.update(&BTreeSet::new());
        assert_eq!(difference.removed, Vec::<String>::new());
        assert_eq!(difference.unlisted.len(), 1);
        assert!(tree.folders().contains_key(above.path()));
        fs::create_dir(&root).unwrap();
        let difference = tree.update(&BTreeSet::new());
        assert_eq!(difference.listed, ["."]);
        assert_eq!(difference.removed, ["a.yaml"]);
    }
}
