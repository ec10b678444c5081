//! Debian packages: an `ar` archive of a version and two tar archives (deb(5)).
//!
//! They are written here, not by cargo-deb, because the tarball and the image have the same files: one list makes all of
//! them, on machines without dpkg too, and the same build gives the same bytes.

use anyhow::Result;

use crate::compress;
use crate::tree::Tree;

pub(crate) struct Deb {
    pub(crate) package: &'static str,
    pub(crate) version: String,
    pub(crate) architecture: &'static str,
    /// Further fields of the control file, in lines.
    pub(crate) fields: String,
    /// The scripts of the maintainer, by name.
    pub(crate) scripts: Vec<(&'static str, Vec<u8>)>,
}

impl Deb {
    pub(crate) fn file_name(&self) -> String {
        format!("{}_{}_{}.deb", self.package, self.version, self.architecture)
    }

    pub(crate) fn pack(&self, tree: &Tree, time: u64, level: i32) -> Result<Vec<u8>> {
        let Self { package, version, architecture, fields, .. } = self;
        let size = tree.size().div_ceil(1024);
        let mut control = Tree::default();
        let text = format!(
            "Package: {package}\nVersion: {version}\nArchitecture: {architecture}\n\
             Maintainer: Polycube developers <polycube@example.org>\nInstalled-Size: {size}\nSection: net\n\
             Priority: optional\n{fields}"
        );
        control.file("control", 0o644, text);
        for (name, script) in &self.scripts {
            control.file(name, 0o755, script.clone());
        }
        let mut archive = b"!<arch>\n".to_vec();
        member(&mut archive, "debian-binary", time, b"2.0\n");
        member(&mut archive, "control.tar.zst", time, &compress(&control.tar("./", time)?, level)?);
        member(&mut archive, "data.tar.zst", time, &compress(&tree.tar("./", time)?, level)?);
        Ok(archive)
    }
}

/// Appends a file to an `ar` archive, with a header of 60 bytes (ar(5)).
fn member(archive: &mut Vec<u8>, name: &str, time: u64, bytes: &[u8]) {
    let header = format!("{name:<16}{time:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, "100644", bytes.len());
    archive.extend(header.as_bytes());
    archive.extend(bytes);
    // Members begin at even offsets.
    if bytes.len() % 2 == 1 {
        archive.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_headers_of_sixty_bytes_and_even_offsets() {
        let mut archive = Vec::new();
        member(&mut archive, "debian-binary", 1, b"2.0");
        assert_eq!(archive.len(), 64);
        assert!(archive.starts_with(b"debian-binary   1 "));
        assert!(archive.ends_with(b"`\n2.0\n"));
    }
}
