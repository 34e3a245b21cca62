//! From a plan to the two configurations of the TLS library.

use crate::identity::{Authority, Chain, KeyKind};
use crate::plan::{ClientAuthentication, Group, HandshakePlan, Version};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::sync::Arc;
use thiserror::Error;

/// Why the two ends could not be set up.
#[derive(Debug, Error)]
pub enum PeersError {
    /// A key or certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library refused a configuration.
    #[error("the TLS library refuses the configuration: {0}")]
    Configuration(#[from] rustls::Error),
    /// The authority's certificate could not be used to check client certificates.
    #[error("cannot check client certificates: {0}")]
    ClientVerifier(#[from] rustls::server::VerifierBuilderError),
}

/// The authorities of one lab: one that the ends trust and one that nobody does.
#[derive(Debug)]
pub struct Peers {
    trusted: Authority,
    stranger: Authority,
    names: Vec<String>,
}

impl Peers {
    /// Authorities, and server certificates for these names.
    ///
    /// # Errors
    /// When keys cannot be made.
    pub fn generate(names: &[String]) -> Result<Self, PeersError> {
        Ok(Self {
            trusted: Authority::generate("Laboratory authority")?,
            stranger: Authority::generate("Authority that nobody knows")?,
            names: names.to_vec(),
        })
    }

    /// The chain that a server with this plan shows.
    ///
    /// # Errors
    /// When a name is not valid in a certificate.
    pub fn server_chain(&self, plan: &HandshakePlan) -> Result<Chain, PeersError> {
        self.server_chain_with(plan, KeyKind::P256)
    }

    /// The same with a leaf key of this kind.
    ///
    /// # Errors
    /// When a name is not valid in a certificate.
    pub fn server_chain_with(&self, plan: &HandshakePlan, kind: KeyKind) -> Result<Chain, PeersError> {
        let authority = if plan.server_trusted { &self.trusted } else { &self.stranger };
        Ok(authority.issue_server_with(&self.names, plan.intermediates, kind)?)
    }

    /// The client's configuration.
    ///
    /// # Errors
    /// When a certificate cannot be made or the TLS library refuses the combination.
    pub fn client(&self, plan: &HandshakePlan) -> Result<ClientConfig, PeersError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.trusted.certificate())?;
        let builder = ClientConfig::builder_with_provider(provider(&plan.client.groups, plan))
            .with_protocol_versions(&versions(&plan.client.versions))?
            .with_root_certificates(roots);
        let mut config = match plan.client_authentication {
            ClientAuthentication::NotAsked => builder.with_no_client_auth(),
            ClientAuthentication::Trusted | ClientAuthentication::Refused => {
                let authority = match plan.client_authentication {
                    ClientAuthentication::Refused => &self.stranger,
                    _ => &self.trusted,
                };
                let chain = authority.issue_client("client.example")?;
                builder.with_client_auth_cert(chain.certificates, chain.key)?
            }
        };
        config.resumption =
            if plan.resumption { Resumption::in_memory_sessions(256) } else { Resumption::disabled() };
        config.alpn_protocols = protocol_names(plan);
        Ok(config)
    }

    /// The server's configuration, showing this chain.
    ///
    /// # Errors
    /// When the TLS library refuses the combination.
    pub fn server(&self, plan: &HandshakePlan, chain: Chain) -> Result<ServerConfig, PeersError> {
        let provider = provider(&plan.server.groups, plan);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions(&plan.server.versions))?;
        let builder = match plan.client_authentication {
            ClientAuthentication::NotAsked => builder.with_no_client_auth(),
            ClientAuthentication::Trusted | ClientAuthentication::Refused => {
                let mut roots = RootCertStore::empty();
                roots.add(self.trusted.certificate())?;
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(chain.certificates, chain.key)?;
        config.alpn_protocols = protocol_names(plan);
        Ok(config)
    }
}

fn protocol_names(plan: &HandshakePlan) -> Vec<Vec<u8>> {
    plan.application_protocols.iter().map(|name| name.clone().into_bytes()).collect()
}

fn provider(groups: &[Group], plan: &HandshakePlan) -> Arc<CryptoProvider> {
    let kx_groups = groups.iter().map(|group| key_exchange(*group)).collect();
    let mut provider = CryptoProvider { kx_groups, ..aws_lc_rs::default_provider() };
    if let Some(wanted) = plan.cipher_suite {
        provider.cipher_suites.retain(|suite| u16::from(suite.suite()) == wanted);
    }
    Arc::new(provider)
}

fn key_exchange(group: Group) -> &'static dyn SupportedKxGroup {
    match group {
        Group::X25519MlKem768 => aws_lc_rs::kx_group::X25519MLKEM768,
        Group::X25519 => aws_lc_rs::kx_group::X25519,
        Group::Secp256r1 => aws_lc_rs::kx_group::SECP256R1,
        Group::Secp384r1 => aws_lc_rs::kx_group::SECP384R1,
    }
}

fn versions(wanted: &[Version]) -> Vec<&'static SupportedProtocolVersion> {
    wanted
        .iter()
        .map(|version| match version {
            Version::Tls12 => &rustls::version::TLS12,
            Version::Tls13 => &rustls::version::TLS13,
        })
        .collect()
}
