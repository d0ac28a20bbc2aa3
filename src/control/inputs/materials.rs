//! Certificates, keys, roots and secrets: their files, and how they are read again.

use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::plan::config::Config;
use crate::plan::problem::Problem;
use crate::status::Role;

use super::super::certs::{self, Materials};
use super::super::findings::warn;
use super::super::load;
use super::{Effect, Inputs};

impl Inputs {
    /// Returns the files of certificates, keys, roots and secrets, each with its role.
    pub(super) fn material_files(&self) -> impl Iterator<Item = (&Path, Role)> {
        certs::files_of(&self.config).chain(self.materials.found())
    }

    /// Loads what a config names.
    pub(super) fn load_materials(&mut self, config: &Config) -> Result<Materials, Vec<Problem>> {
        let before = Some(&*self.materials);
        certs::materials(&self.config_file, config, before, |path| self.files.settled(path))
    }

    /// Checks again what changes without the content of a file: permissions of secrets, and the time that certificates
    /// have left. Returns true if the result has changed.
    pub(in crate::control) fn look_at_standing(&mut self) -> bool {
        let standing = load::standing(&self.config, &self.materials, Timestamp::now());
        let before = mem::replace(&mut self.standing, standing);
        let gone = before.iter().filter(|problem| !self.standing.contains(problem));
        gone.for_each(|problem| self.findings.retract(problem));
        // A file that was read again has lost its findings.
        let lost: Vec<Problem> = self.standing.iter().filter(|problem| self.findings.add(problem)).cloned().collect();
        let new: Vec<Problem> = lost.into_iter().filter(|problem| !before.contains(problem)).collect();
        warn(&new);
        self.standing != before
    }

    /// Reads certificates, keys, roots and secrets again. A certificate and its key are seldom written at once, so the
    /// pair is taken when both fit.
    pub(super) fn take_materials(&mut self) -> Effect {
        let config = Arc::clone(&self.config);
        match self.load_materials(&config) {
            Ok(materials) if self.awaits_half(&materials) => Effect::None,
            Ok(materials) => {
                self.set_materials(materials);
                self.watch();
                let files: Vec<PathBuf> = self.material_files().map(|(file, _)| file.to_owned()).collect();
                files.iter().for_each(|file| self.findings.clear(file));
                let _ = self.look_at_standing();
                Effect::Publish
            }
            Err(problems) if self.awaits_pair(&config, &problems) => Effect::None,
            Err(problems) => {
                for problem in problems {
                    let _ = self.refuse(&PathBuf::from(&problem.file), vec![problem]);
                }
                Effect::None
            }
        }
    }

    pub(super) fn set_materials(&mut self, materials: Materials) {
        if self.waiting.is_none() {
            self.pairs.forget();
        }
        self.known.secrets = materials.secrets.clone();
        self.materials = Arc::new(materials);
        let files: Vec<PathBuf> = self.material_files().map(|(file, _)| file.to_owned()).collect();
        files.iter().for_each(|file| self.take_content(file));
    }

    /// Returns true if the only problem is a key that does not belong to its certificate, and the other half of the
    /// pair may still come.
    pub(super) fn awaits_pair(&mut self, config: &Config, problems: &[Problem]) -> bool {
        let unpaired = certs::unpaired(config, |path| self.files.settled(path));
        self.pairs.await_other_half(unpaired.filter(|_| problems.len() == 1))
    }

    /// Returns true if a directory holds half a pair that it did not hold before, and the other half may still come.
    fn awaits_half(&mut self, materials: &Materials) -> bool {
        let half = materials.unsettled().filter(|half| self.materials.unsettled() != Some(half));
        half.is_some() && self.pairs.await_other_half(half.cloned())
    }
}
