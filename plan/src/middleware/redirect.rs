//! Where a client is sent.

use forward_crds::{self as crds, Scheme};
use http::{HeaderValue, StatusCode};

use super::{StepError, step::status_code};

/// A redirect.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    scheme: Option<&'static str>,
    host: Option<String>,
    path: Option<String>,
    /// The status.
    pub status: StatusCode,
}

impl Redirect {
    pub(super) fn read(redirect: &crds::Redirect) -> Result<Self, StepError> {
        let crds::Redirect { scheme, host, path, status } = redirect;
        let scheme = scheme.map(|scheme| match scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        });
        if scheme.is_none() && host.is_none() && path.is_none() {
            return Err(StepError::Missing("scheme, host or path"));
        }
        let status = status_code(*status, 301..=308)?;
        if !status.is_redirection() || [304, 305, 306].contains(&status.as_u16()) {
            return Err(StepError::OutOfRange { field: "status", value: status.as_u16().into() });
        }
        Ok(Self { scheme, host: host.clone(), path: path.clone(), status })
    }

    /// Where a request is sent; `None` where it is there already, or where the place cannot be said
    /// in a header.
    pub fn location(&self, scheme: &str, host: &str, path: &str, query: Option<&str>) -> Option<HeaderValue> {
        let to_scheme = self.scheme.unwrap_or(scheme);
        let to_path = self.path.as_deref().unwrap_or(path);
        let to_host = match &self.host {
            Some(host) => host,
            // A port belongs to its scheme.
            None if to_scheme != scheme => without_port(host),
            None => host,
        };
        let same_host = to_host.eq_ignore_ascii_case(host);
        if to_scheme == scheme && same_host && to_path == path {
            return None;
        }
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let location = if to_scheme == scheme && same_host {
            format!("{to_path}{query}")
        } else {
            format!("{to_scheme}://{to_host}{to_path}{query}")
        };
        HeaderValue::try_from(location).ok()
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirect(scheme: Option<Scheme>, host: Option<&str>, path: Option<&str>) -> Redirect {
        let text = |text: Option<&str>| text.map(str::to_owned);
        Redirect::read(&crds::Redirect { scheme, host: text(host), path: text(path), status: 308 }).unwrap()
    }

    fn location(redirect: &Redirect, scheme: &str, host: &str, path: &str, query: Option<&str>) -> String {
        redirect
            .location(scheme, host, path, query)
            .map_or("on".to_owned(), |value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn leads_to_https_once() {
        let https = redirect(Some(Scheme::Https), None, None);
        assert_eq!(location(&https, "http", "shop:8080", "/a", Some("b=c")), "https://shop/a?b=c");
        assert_eq!(location(&https, "http", "[::1]", "/a", None), "https://[::1]/a");
        assert_eq!(location(&https, "https", "shop", "/a", None), "on");
    }

    #[test]
    fn keeps_what_it_does_not_name() {
        let host = redirect(None, Some("new.example"), None);
        assert_eq!(location(&host, "https", "old.example", "/a", Some("")), "https://new.example/a?");
        assert_eq!(location(&host, "http", "NEW.example", "/a", None), "on");
        let path = redirect(None, None, Some("/new"));
        assert_eq!(location(&path, "http", "shop:81", "/old", Some("q")), "/new?q");
        assert_eq!(location(&path, "http", "shop", "/new", None), "on");
    }

    #[test]
    fn refuses_what_is_no_redirect() {
        for status in [200, 300, 304, 305, 306, 400, -1] {
            let wrong = crds::Redirect { path: Some("/".to_owned()), status, ..crds::Redirect::default() };
            assert!(Redirect::read(&wrong).is_err(), "{status}");
        }
    }
}
