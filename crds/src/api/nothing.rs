//! The empty object.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An object without fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Nothing {}
