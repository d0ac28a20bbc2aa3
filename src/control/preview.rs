//! A preview: the files' contents, changed to show a page that is not in force.

use std::sync::Arc;

use crate::files::Files;
use crate::plan::config::Config;
use crate::plan::flags::Flags;
use crate::plan::problem::Problem;

use super::load::Loaded;
use super::pages;

/// Changes to make to every config and flag file that is read.
pub(crate) struct Preview {
    /// Changes the config.
    pub config: Box<dyn Fn(&mut Config)>,
    /// Changes the flags.
    pub flags: Box<dyn Fn(&mut Flags)>,
}

impl std::fmt::Debug for Preview {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Preview").finish_non_exhaustive()
    }
}

impl Preview {
    /// Changes what was loaded, and makes renderers for the changed config.
    pub(super) fn adapt(
        &self,
        loaded: Loaded,
        config_file: &std::path::Path,
        files: &mut Files,
    ) -> Result<Loaded, Vec<Problem>> {
        let (mut config, mut flags) = ((*loaded.config).clone(), (*loaded.flags).clone());
        (self.config)(&mut config);
        (self.flags)(&mut flags);
        let (renderers, problems) = pages::renderers(config_file, &config, |path| files.present(path));
        let renderers = renderers.ok_or(problems)?;
        Ok(Loaded { config: Arc::new(config), flags: Arc::new(flags), renderers, ..loaded })
    }
}
