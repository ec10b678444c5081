//! Settings from the user's configuration file and the environment. Nothing is ever written.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fs, io};

use polycube_document::{Document, ParseError, Place};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::endpoint::TlsFiles;

/// Settings; the environment takes precedence over the file.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Config {
    pub(crate) url: Option<String>,
    pub(crate) token_file: Option<String>,
    pub(crate) tls: TlsFiles,
    pub(crate) debug: bool,
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read the configuration file {}: {source}", file.display())]
    Read { file: PathBuf, source: io::Error },
    #[error("{}: {source}", file.display())]
    Malformed { file: PathBuf, source: ParseError },
    #[error("{}: {source} at line {} column {}", file.display(), place.line, place.column)]
    Setting { file: PathBuf, place: Place, source: serde_json::Error },
    #[error("{}: the file is not a mapping: write KEY: VALUE", file.display())]
    NotMapping { file: PathBuf },
    #[error("POLYCUBECTL_DEBUG={value}: give true or false")]
    Debug { value: String },
    #[error("{name} is not valid UTF-8: {value:?}")]
    NotUtf8 { name: String, value: OsString },
}

/// The file. Polycube's command line wrote one with all of its fields, so those that mean nothing here are accepted.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    url: Option<String>,
    token_file: Option<String>,
    cacert: Option<String>,
    cert: Option<String>,
    key: Option<String>,
    debug: Option<bool>,
    #[serde(rename = "expert", default)]
    _expert: Option<IgnoredAny>,
    #[serde(rename = "singleparameterworkaround", default)]
    _single: Option<IgnoredAny>,
    #[serde(rename = "version", default)]
    _version: Option<IgnoredAny>,
}

/// Reads the file and the environment; a file that does not exist counts as empty.
///
/// # Errors
///
/// The file cannot be read or understood, or a variable makes no sense.
pub(crate) fn load(variable: impl Fn(&str) -> Option<OsString>) -> Result<Config, ConfigError> {
    let file = match path(&variable) {
        Some(path) => read(&path)?,
        None => File::default(),
    };
    let text = |name| text(&variable, name);
    let debug = match text("POLYCUBECTL_DEBUG")?.as_deref() {
        None => file.debug.unwrap_or(false),
        Some("1" | "true" | "TRUE" | "True") => true,
        Some("0" | "false" | "FALSE" | "False") => false,
        Some(value) => return Err(ConfigError::Debug { value: value.to_owned() }),
    };
    // Polycube's command line wrote keys without a value.
    let or = |name, filed: Option<String>| Ok(text(name)?.or(filed).filter(|value| !value.is_empty()));
    let tls = TlsFiles {
        cacert: or("POLYCUBECTL_CACERT", file.cacert)?,
        cert: or("POLYCUBECTL_CERT", file.cert)?,
        key: or("POLYCUBECTL_KEY", file.key)?,
    };
    Ok(Config { url: or("POLYCUBECTL_URL", file.url)?, token_file: file.token_file, tls, debug })
}

/// A variable that must be text. Ignoring one that is not could lead to another daemon.
///
/// # Errors
///
/// It is not valid UTF-8.
pub(crate) fn text(variable: impl Fn(&str) -> Option<OsString>, name: &str) -> Result<Option<String>, ConfigError> {
    let text = variable(name).map(OsString::into_string).transpose();
    text.map_err(|value| ConfigError::NotUtf8 { name: name.to_owned(), value })
}

/// XDG Base Directory Specification: a relative `XDG_CONFIG_HOME` is ignored.
fn path(variable: &impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let given = variable("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let directory = given.or_else(|| Some(Path::new(&variable("HOME")?).join(".config")))?;
    Some(directory.join("polycube/polycubectl_config.yaml"))
}

fn read(path: &Path) -> Result<File, ConfigError> {
    // If HOME is another user's, as sudo -u leaves it, the file may not even be looked for.
    if !path.try_exists().unwrap_or(false) {
        return Ok(File::default());
    }
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { file: path.to_owned(), source })?;
    let document = Document::parse(&text);
    let document = document.map_err(|source| ConfigError::Malformed { file: path.to_owned(), source })?;
    let settings = match &document.value {
        Value::Null => return Ok(File::default()),
        Value::Object(settings) => settings,
        _ => return Err(ConfigError::NotMapping { file: path.to_owned() }),
    };
    // One by one, because only then it is known which of them is wrong.
    for (key, value) in settings {
        let alone = Map::from_iter([(key.clone(), value.clone())]);
        if let Err(source) = serde_json::from_value::<File>(alone.into()) {
            let place = document.place(key).unwrap_or_default();
            return Err(ConfigError::Setting { file: path.to_owned(), place, source });
        }
    }
    serde_json::from_value(document.value.clone()).map_err(|source| ConfigError::Setting {
        file: path.to_owned(),
        place: Place::default(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn home(text: &str) -> TempDir {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join(".config/polycube")).unwrap();
        fs::write(home.path().join(".config/polycube/polycubectl_config.yaml"), text).unwrap();
        home
    }

    fn with(home: &TempDir, more: &[(&str, &str)]) -> Result<Config, String> {
        let home = home.path().to_str().unwrap().to_owned();
        let variable = |name: &str| {
            let found = more.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into());
            found.or_else(|| (name == "HOME").then(|| home.clone().into()))
        };
        load(variable).map_err(|error| error.to_string().replace(&home, "~"))
    }

    fn config(url: &str, token_file: &str, debug: bool) -> Config {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Config { url: some(url), token_file: some(token_file), tls: TlsFiles::default(), debug }
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let home = home("url: http://file:1\ntoken-file: /t\ndebug: true\nexpert: true\ncacert: ''\n");
        assert_eq!(with(&home, &[]), Ok(config("http://file:1", "/t", true)));
        let environment = [("POLYCUBECTL_URL", "http://env:1"), ("POLYCUBECTL_DEBUG", "0")];
        assert_eq!(with(&home, &environment), Ok(config("http://env:1", "/t", false)));
        assert_eq!(with(&home, &[("XDG_CONFIG_HOME", "/nowhere")]), Ok(Config::default()));
        assert_eq!(with(&home, &[("XDG_CONFIG_HOME", "relative")]), Ok(config("http://file:1", "/t", true)));
    }

    #[test]
    fn the_files_of_tls_come_from_both() {
        let home = home("cacert: /f/ca\ncert: /f/cert\nkey: ''\n");
        let files = |cacert: &str, cert: &str, key: Option<&str>| TlsFiles {
            cacert: Some(cacert.to_owned()),
            cert: Some(cert.to_owned()),
            key: key.map(str::to_owned),
        };
        assert_eq!(with(&home, &[]).unwrap().tls, files("/f/ca", "/f/cert", None));
        let environment = [("POLYCUBECTL_CACERT", "/e/ca"), ("POLYCUBECTL_CERT", "/e/cert"), ("POLYCUBECTL_KEY", "/k")];
        assert_eq!(with(&home, &environment).unwrap().tls, files("/e/ca", "/e/cert", Some("/k")));
    }

    #[test]
    fn a_variable_that_is_not_text_is_not_ignored() {
        use std::os::unix::ffi::OsStringExt as _;
        for name in ["POLYCUBECTL_URL", "POLYCUBECTL_DEBUG", "POLYCUBECTL_CACERT"] {
            let odd = |asked: &str| (asked == name).then(|| OsString::from_vec(b"unix:///\xff".to_vec()));
            assert_eq!(load(odd).unwrap_err().to_string(), format!("{name} is not valid UTF-8: \"unix:///\\xFF\""));
        }
    }

    #[test]
    fn no_file_is_as_good_as_an_empty_one() {
        assert_eq!(with(&tempfile::tempdir().unwrap(), &[]), Ok(Config::default()));
        assert_eq!(with(&home(""), &[]), Ok(Config::default()));
        assert_eq!(load(|_| None).unwrap(), Config::default());
    }

    #[test]
    fn a_file_with_mistakes_is_refused() {
        let file = "~/.config/polycube/polycubectl_config.yaml";
        let error = with(&home("url: a\nurk: b\n"), &[]).unwrap_err();
        assert!(error.starts_with(&format!("{file}: unknown field `urk`")) && error.contains("line 2"), "{error}");
        let error = with(&home("url: a\n\ndebug: maybe\n"), &[]).unwrap_err();
        let expected = "invalid type: string \"maybe\", expected a boolean at line 3 column 1";
        assert_eq!(error, format!("{file}: {expected}"));
        assert_eq!(
            with(&home("- a\n"), &[]).unwrap_err(),
            format!("{file}: the file is not a mapping: write KEY: VALUE")
        );
        let error = with(&home(""), &[("POLYCUBECTL_DEBUG", "loud")]).unwrap_err();
        assert_eq!(error, "POLYCUBECTL_DEBUG=loud: give true or false");
    }
}
