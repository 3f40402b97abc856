//! Parts of pages. The script asks the address of a page for one part, with the header
//! `Vidimus-Part`, and puts it in place. The answer has the same header.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::response::Response;
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue, VARY};
use hyper::http::request::Parts;

use super::html;

/// The name of the header.
pub(super) const PART: HeaderName = HeaderName::from_static("vidimus-part");

/// The part that a request asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Part(Option<String>);

impl<S: Sync> FromRequestParts<S> for Part {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Part, Infallible> {
        let name = parts.headers.get(PART).and_then(|name| name.to_str().ok());
        Ok(Part(name.map(str::to_owned)))
    }
}

/// A page whose parts can be asked for.
pub(super) trait Paged: askama::Template {
    /// The part `name`, or `None` if the page has no such part.
    fn part(&self, name: &str) -> Option<(&'static str, askama::Result<String>)>;
}

/// Implements [`Paged`]: each part is a block of the template.
macro_rules! parts {
    ($page:ty: $($name:literal => $block:ident),+) => {
        impl $crate::console::pages::part::Paged for $page {
            fn part(&self, name: &str) -> Option<(&'static str, askama::Result<String>)> {
                match name {
                    $($name => Some(($name, askama::Template::render(&self.$block()))),)+
                    _ => None,
                }
            }
        }
    };
}
pub(super) use parts;

impl Part {
    /// Whether the request asks for the part `name`, or for the whole page.
    pub(super) fn includes(&self, name: &str) -> bool {
        self.0.as_deref().is_none_or(|part| part == name || part == "main")
    }

    /// The part of `page` that was asked for, or the whole page.
    pub(super) fn of(&self, status: StatusCode, page: &impl Paged) -> Response {
        match self.0.as_deref().and_then(|name| page.part(name)) {
            Some((name, text)) => Part::answer(name, html(status, text)),
            None => html(status, page.render()),
        }
    }

    /// Marks `answer` as the part `name`.
    pub(super) fn answer(name: &'static str, mut answer: Response) -> Response {
        let headers = answer.headers_mut();
        headers.insert(PART, HeaderValue::from_static(name));
        headers.append(VARY, HeaderValue::from_static("vidimus-part"));
        answer
    }
}
