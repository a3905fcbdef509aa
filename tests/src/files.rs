//! The ways in which files change under a running program.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// How files are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Written over, one after the other.
    InPlace,
    /// Written elsewhere and renamed, one after the other.
    Rename,
    /// All at once, by a symbolic link that is swapped: Kubernetes' secrets and config maps.
    Kubernetes,
}

const DATA: &str = "..data";

impl Way {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::InPlace, Self::Rename, Self::Kubernetes];

    /// Makes a folder of plain files one that can be changed in this way.
    ///
    /// # Panics
    ///
    /// When a file cannot be moved.
    pub fn prepare(self, folder: &Path) {
        if self != Self::Kubernetes {
            return;
        }
        let names = names(folder);
        let first = folder.join("..2026_0");
        fs::create_dir(&first).unwrap();
        for name in &names {
            fs::rename(folder.join(name), first.join(name)).unwrap();
            symlink(Path::new(DATA).join(name), folder.join(name)).unwrap();
        }
        symlink("..2026_0", folder.join(DATA)).unwrap();
    }

    /// Replaces files.
    ///
    /// # Panics
    ///
    /// When they cannot be written.
    pub fn replace(self, folder: &Path, files: &[(&str, &str)]) {
        match self {
            Self::InPlace => {
                for (name, content) in files {
                    fs::write(folder.join(name), content).unwrap();
                }
            }
            Self::Rename => {
                for (name, content) in files {
                    let new = folder.join(format!("{name}.new"));
                    fs::write(&new, content).unwrap();
                    fs::rename(&new, folder.join(name)).unwrap();
                }
            }
            Self::Kubernetes => swap(folder, files),
        }
    }
}

/// What kubelet's atomic writer does.
fn swap(folder: &Path, files: &[(&str, &str)]) {
    let old = fs::read_link(folder.join(DATA)).unwrap();
    let number: u32 = old
        .to_str()
        .unwrap()
        .rsplit('_')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let new = format!("..2026_{}", number + 1);
    fs::create_dir(folder.join(&new)).unwrap();
    for name in names(&folder.join(&old)) {
        fs::copy(folder.join(&old).join(&name), folder.join(&new).join(&name)).unwrap();
    }
    for (name, content) in files {
        fs::write(folder.join(&new).join(name), content).unwrap();
    }
    symlink(&new, folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join(DATA)).unwrap();
    fs::remove_dir_all(folder.join(&old)).unwrap();
}

fn names(folder: &Path) -> Vec<String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}
