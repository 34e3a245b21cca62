//! Keys and certificates, made new for every run: nothing secret is ever stored in the repository.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// What a leaf's key signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// ECDSA on P-521.
    P521,
    /// Ed25519.
    Ed25519,
    /// RSA with a modulus of 2048 bits.
    Rsa2048,
}

impl KeyKind {
    fn generate(self) -> Result<KeyPair, rcgen::Error> {
        KeyPair::generate_for(match self {
            Self::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Self::P521 => &rcgen::PKCS_ECDSA_P521_SHA512,
            Self::Ed25519 => &rcgen::PKCS_ED25519,
            Self::Rsa2048 => &rcgen::PKCS_RSA_SHA256,
        })
    }
}

/// A certificate chain with the key of its leaf.
#[derive(Debug)]
pub struct Chain {
    /// Leaf first, then intermediates; the authority itself is left out, as servers do.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Key of the leaf.
    pub key: PrivateKeyDer<'static>,
}

impl Chain {
    /// The DER length of every certificate, in bytes and in the order in which they are sent.
    pub fn lengths(&self) -> Vec<usize> {
        self.certificates.iter().map(|certificate| certificate.len()).collect()
    }
}

impl Clone for Chain {
    fn clone(&self) -> Self {
        Self { certificates: self.certificates.clone(), key: self.key.clone_key() }
    }
}

/// A certificate authority that lives as long as the process.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority with a fresh P-256 key.
    ///
    /// # Errors
    /// When the key or the certificate cannot be made.
    pub fn generate(name: &str) -> Result<Self, rcgen::Error> {
        let issuer = CertifiedIssuer::self_signed(authority_params(name)?, KeyPair::generate()?)?;
        Ok(Self { issuer })
    }

    /// The authority's own certificate, to be trusted.
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// A chain for a server that answers to these names, with a number of intermediate authorities above it.
    ///
    /// # Errors
    /// When a name is not a valid DNS name or the certificate cannot be made.
    pub fn issue_server(&self, names: &[String], intermediates: usize) -> Result<Chain, rcgen::Error> {
        self.issue_server_with(names, intermediates, KeyKind::P256)
    }

    /// The same with a leaf key of this kind.
    ///
    /// # Errors
    /// When a name is not a valid DNS name or the certificate cannot be made.
    pub fn issue_server_with(
        &self,
        names: &[String],
        intermediates: usize,
        kind: KeyKind,
    ) -> Result<Chain, rcgen::Error> {
        let mut params = CertificateParams::new(names)?;
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        self.issue(params, names.first().map_or("server", String::as_str), intermediates, kind)
    }

    /// A chain for a client.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub fn issue_client(&self, name: &str) -> Result<Chain, rcgen::Error> {
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        self.issue(params, name, 0, KeyKind::P256)
    }

    fn issue(
        &self,
        mut params: CertificateParams,
        name: &str,
        intermediates: usize,
        kind: KeyKind,
    ) -> Result<Chain, rcgen::Error> {
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages.push(KeyUsagePurpose::DigitalSignature);
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params);
        let mut above: Vec<CertifiedIssuer<'static, KeyPair>> = Vec::new();
        for level in 1..=intermediates {
            let params = authority_params(&format!("Laboratory intermediate {level}"))?;
            let signer = above.last().unwrap_or(&self.issuer);
            let next = CertifiedIssuer::signed_by(params, KeyPair::generate()?, signer)?;
            above.push(next);
        }
        let key = kind.generate()?;
        let leaf = params.signed_by(&key, above.last().unwrap_or(&self.issuer))?;
        let certificates = std::iter::once(leaf.der().clone())
            .chain(above.iter().rev().map(|issuer| issuer.der().clone()))
            .collect();
        Ok(Chain { certificates, key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())) })
    }
}

fn authority_params(name: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params);
    Ok(params)
}

fn set_validity(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2120, 1, 1);
}
