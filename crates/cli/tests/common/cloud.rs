//! A sandbox in a process of its own, as a user would run it.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use tempfile::TempDir;

use crate::common::{self, DEBIAN, testdata};

pub struct Cloud {
    child: Child,
    dir: Arc<TempDir>,
    environment: BTreeMap<String, String>,
}

impl Cloud {
    pub fn start(buckets: &[&str]) -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), buckets)
    }

    /// Starts on a directory that another one may have left.
    pub fn start_in(dir: Arc<TempDir>, buckets: &[&str]) -> Self {
        Self::start_with(dir, buckets, &[])
    }

    /// Starts a sandbox that speaks https and is as strict as OBS is there.
    pub fn start_https(buckets: &[&str]) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        Self::start_with(dir, buckets, &["--https"])
    }

    fn start_with(dir: Arc<TempDir>, buckets: &[&str], options: &[&str]) -> Self {
        let mut command = common::command();
        command.args(["sandbox", "--json", "--dir"]).arg(dir.path());
        command.args(options);
        for bucket in buckets {
            command.args(["--bucket", bucket]);
        }
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // One object, and then the stream stays open.
        let mut text = Vec::new();
        let mut stdout = child.stdout.take().unwrap();
        let answer: serde_json::Value = loop {
            let mut byte = [0];
            stdout.read_exact(&mut byte).unwrap();
            text.extend(byte);
            if let Ok(value) = serde_json::from_slice(&text) {
                break value;
            }
        };
        let environment = answer["environment"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
            .collect();
        Self {
            child,
            dir,
            environment,
        }
    }

    /// Ends the process, and returns its directory.
    pub fn into_dir(self) -> Arc<TempDir> {
        Arc::clone(&self.dir)
    }

    /// The binary with the environment that the sandbox printed.
    pub fn command(&self) -> Command {
        let mut command = common::command();
        command
            .envs(&self.environment)
            .env("XDG_STATE_HOME", self.dir.path().join("state"));
        command
    }

    /// `imgferry import` of the real disk as a system image into the bucket `images`.
    pub fn import(&self) -> Command {
        let mut command = self.command();
        command
            .arg("import")
            .arg(testdata("debian-tree.qcow2"))
            .args(["--bucket", "images", "--os-version", DEBIAN]);
        command
    }

    pub fn variable(&self, name: &str) -> String {
        self.environment[name].clone()
    }

    /// Where journals are kept.
    pub fn state(&self) -> std::path::PathBuf {
        self.dir.path().join("state")
    }

    /// User, password and domain.
    pub fn password(&self) -> (String, String, String) {
        let get = |name| self.environment[name].clone();
        (
            get("HW_USER_NAME"),
            get("HW_USER_PASSWORD"),
            get("HW_DOMAIN_NAME"),
        )
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Cloud {
    /// Names of the objects that the bucket holds, without the manifests and tables beside them.
    pub fn objects(&self, bucket: &str) -> Vec<String> {
        list(&self.dir.path().join("obs").join(bucket))
            .into_iter()
            .filter(|name| !name.starts_with('.'))
            .filter(|name| !name.ends_with(".imgferry.json") && !name.ends_with(".blocks"))
            .collect()
    }

    /// The file of an object.
    pub fn object_path(&self, bucket: &str, key: &str) -> std::path::PathBuf {
        self.dir.path().join("obs").join(bucket).join(key)
    }

    /// What the object holds.
    pub fn object(&self, bucket: &str, key: &str) -> Vec<u8> {
        std::fs::read(self.dir.path().join("obs").join(bucket).join(key)).unwrap()
    }

    /// Number of uploads that are neither complete nor aborted.
    pub fn uploads(&self) -> usize {
        list(&self.dir.path().join("uploads")).len()
    }
}

fn list(dir: &std::path::Path) -> Vec<String> {
    std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

impl Cloud {
    /// Directories of the uploads that are neither complete nor aborted.
    pub fn upload_dirs(&self) -> Vec<std::path::PathBuf> {
        let dir = self.dir.path().join("uploads");
        list(&dir).into_iter().map(|name| dir.join(name)).collect()
    }

    /// How many parts those uploads have.
    pub fn upload_parts(&self) -> usize {
        let names = self.upload_dirs().into_iter().flat_map(|dir| list(&dir));
        names.filter(|name| name.starts_with("part-")).count()
    }
}
