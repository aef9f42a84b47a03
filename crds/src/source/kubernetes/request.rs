//! One request to the API server, for which nobody waits for ever.

#![expect(
    clippy::disallowed_methods,
    reason = "driver: an answer has a deadline"
)]

use std::error::Error;
use std::time::Duration;

use kube::core::Status;
use thiserror::Error;
use tokio::time::timeout;

/// Why a request did not succeed.
#[derive(Debug, Error)]
pub enum Failed {
    /// The API server said so.
    #[error("{}", .0.message)]
    Status(Box<Status>),
    /// It may have succeeded.
    #[error("{0}")]
    Unknown(String),
}

impl Failed {
    /// The status that the API server answered with; `None`: nobody knows.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Status(status) => Some(status.code),
            Self::Unknown(_) => None,
        }
    }
}

impl From<kube::Error> for Failed {
    fn from(error: kube::Error) -> Self {
        let kube::Error::Api(status) = error else {
            return Self::Unknown(deepest(&error));
        };
        Self::Status(status)
    }
}

/// An answer within this time.
pub async fn within<T>(
    patience: Duration,
    answer: impl Future<Output = kube::Result<T>>,
) -> Result<T, Failed> {
    match timeout(patience, answer).await {
        Ok(answer) => answer.map_err(Failed::from),
        Err(_) => Err(Failed::Unknown("the API server does not answer".to_owned())),
    }
}

/// The deepest cause: what a connection says of itself is always the same.
pub fn deepest(error: &(dyn Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
