//! The configuration file while the process runs.

use ask2do_token_tls::{BoxError, Contents, LoadError, Reloader, Watched};

use super::mistake::{Mistakes, within};
use super::setting::Setting;
use super::sources::Sources;

impl Sources {
    /// Reads the configuration file again whenever its content changes, and makes of it the part that
    /// may change while running: `part`, from the keys `reloadable` (`["callers"]`). Each time,
    /// `needs_restart` is told the other keys whose values are no longer those of `running`; none
    /// when the file says again what runs.
    ///
    /// A file that is bad in any of its keys keeps the last good part; the reloader's observer is told
    /// once, under `name`. Nothing without a configuration file.
    ///
    /// # Errors
    ///
    /// The file can no longer be read, or `part` refuses it.
    pub fn watch<T, P>(
        &self,
        name: &'static str,
        running: T,
        reloadable: &'static [&'static str],
        part: impl Fn(&T) -> Result<P, BoxError> + Send + Sync + 'static,
        needs_restart: impl Fn(&[String]) + Send + Sync + 'static,
    ) -> Result<Option<(Watched<P>, Reloader)>, LoadError>
    where
        T: Setting + Send + Sync + 'static,
        P: Send + Sync + 'static,
    {
        let Some(path) = self.file.clone() else {
            return Ok(None);
        };
        let sources = self.clone();
        let parse = move |contents: &[Contents]| {
            let bytes = contents.first().map(Contents::as_bytes);
            let now: T = sources.read_layers(bytes, Mistakes::new(), false)?;
            let part = part(&now)?;
            let mut keys = Vec::new();
            running.differences(&now, "", &mut keys);
            keys.retain(|key| !reloadable.iter().any(|part| within(part, key)));
            needs_restart(&keys);
            Ok(part)
        };
        Watched::load(name, vec![path], parse).map(Some)
    }
}
