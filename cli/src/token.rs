//! The bearer token.

use std::{fs, io};

use hyper::header::HeaderValue;

/// A token that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("cannot read the token file {file}: {source}")]
    Read { file: String, source: io::Error },
    #[error("{origin} holds no token")]
    Empty { origin: String },
    #[error("the token of {origin} has characters that a header cannot carry")]
    Characters { origin: String },
}

/// The value of the `Authorization` header: the token of the file that the command line names, else the environment's,
/// else that of the configured file, else none.
pub(crate) fn authorization(
    file: Option<&str>,
    environment: Option<String>,
    configured: Option<&str>,
) -> Result<Option<HeaderValue>, TokenError> {
    let environment = environment.filter(|token| !token.is_empty());
    let file = file.or(configured.filter(|_| environment.is_none()));
    let (token, origin) = match (file, environment) {
        (Some(file), _) => {
            let token =
                fs::read_to_string(file).map_err(|source| TokenError::Read { file: file.to_owned(), source })?;
            (token, file.to_owned())
        }
        (None, Some(token)) => (token, "POLYCUBECTL_TOKEN".to_owned()),
        (None, None) => return Ok(None),
    };
    let token = token.trim();
    if token.is_empty() {
        return Err(TokenError::Empty { origin });
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| TokenError::Characters { origin })?;
    value.set_sensitive(true);
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(file: Option<&str>, environment: Option<&str>) -> Result<Option<String>, String> {
        match authorization(file, environment.map(str::to_owned), None) {
            Ok(value) => Ok(value.map(|value| value.to_str().unwrap().to_owned())),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_file_wins_over_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        fs::write(&file, "from-file\n").unwrap();
        assert_eq!(token(file.to_str(), Some("from-env")), Ok(Some("Bearer from-file".to_owned())));
        assert_eq!(token(None, Some("from-env")), Ok(Some("Bearer from-env".to_owned())));
        assert_eq!(token(None, Some("")), Ok(None));
        assert_eq!(token(None, None), Ok(None));
        let configured = |given: Option<&str>| authorization(None, given.map(str::to_owned), file.to_str()).unwrap();
        assert_eq!(configured(None).unwrap().to_str().unwrap(), "Bearer from-file");
        assert_eq!(configured(Some("from-env")).unwrap().to_str().unwrap(), "Bearer from-env");
    }

    #[test]
    fn a_useless_token_is_refused() {
        assert_eq!(token(None, Some(" \n")), Err("POLYCUBECTL_TOKEN holds no token".to_owned()));
        assert_eq!(
            token(None, Some("a\nb")),
            Err("the token of POLYCUBECTL_TOKEN has characters that a header cannot carry".to_owned())
        );
        assert_eq!(
            token(Some("/nowhere/t"), None),
            Err("cannot read the token file /nowhere/t: No such file or directory (os error 2)".to_owned())
        );
    }
}
