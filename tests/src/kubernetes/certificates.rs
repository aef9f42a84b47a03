//! One authority per control plane, what it signs, and the kubeconfigs that carry it.
#![expect(clippy::disallowed_methods, reason = "certificates are files")]

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use serde_json::{Value, json};

/// Who signs, and where everything lies.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: PathBuf,
    server: String,
}

/// A certificate and its key, as files.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// How a client says who it is.
pub(crate) enum Credential<'a> {
    Certificate(&'a Identity),
    Token(&'a str),
}

impl Authority {
    /// A new one, whose kubeconfigs lead to this server.
    pub(crate) fn new(dir: &Path, server: &str) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut params = CertificateParams::default();
        name(&mut params, "authority of the proofs", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let authority = Self {
            issuer,
            dir: dir.to_owned(),
            server: server.to_owned(),
        };
        authority.write("ca.crt", &authority.issuer.pem())?;
        Ok(authority)
    }

    /// The file with the authority's own certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// For a server with these names and addresses.
    pub(crate) fn server(&self, file: &str, names: &[String]) -> Result<Identity> {
        let mut params = CertificateParams::new(names)?;
        name(&mut params, file, None);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(file, &params)
    }

    /// For a client that the server shall know as this user of this group.
    pub(crate) fn client(&self, user: &str, group: Option<&str>) -> Result<Identity> {
        let mut params = CertificateParams::default();
        name(&mut params, user, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&user.replace(':', "-"), &params)
    }

    /// A key pair to sign and to check tokens with: the private file, the public file.
    pub(crate) fn token_keys(&self) -> Result<(PathBuf, PathBuf)> {
        let pair = KeyPair::generate()?;
        Ok((
            self.write("tokens.key", &pair.serialize_pem())?,
            self.write("tokens.pub", &pair.public_key_pem())?,
        ))
    }

    /// A kubeconfig as JSON, which is YAML too.
    pub(crate) fn kubeconfig(&self, name: &str, credential: &Credential<'_>) -> Result<PathBuf> {
        let config = config(&self.server, &self.certificate(), credential);
        self.write(&format!("{name}.kubeconfig"), &config.to_string())
    }

    fn sign(&self, file: &str, params: &CertificateParams) -> Result<Identity> {
        let pair = KeyPair::generate()?;
        let certificate = params.signed_by(&pair, &self.issuer)?;
        Ok(Identity {
            certificate: self.write(&format!("{file}.crt"), &certificate.pem())?,
            key: self.write(&format!("{file}.key"), &pair.serialize_pem())?,
        })
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }
}

impl Debug for Authority {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = formatter.debug_struct("Authority");
        text.field("dir", &self.dir).finish_non_exhaustive()
    }
}

fn name(params: &mut CertificateParams, common: &str, organization: Option<&str>) {
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common);
    if let Some(organization) = organization {
        let kind = DnType::OrganizationName;
        params.distinguished_name.push(kind, organization);
    }
}

fn config(server: &str, authority: &Path, credential: &Credential<'_>) -> Value {
    let user = match credential {
        Credential::Certificate(identity) => json!({
            "client-certificate": identity.certificate,
            "client-key": identity.key,
        }),
        Credential::Token(token) => json!({ "token": token }),
    };
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "rig",
            "cluster": { "server": server, "certificate-authority": authority },
        }],
        "users": [{ "name": "user", "user": user }],
        "contexts": [{ "name": "rig", "context": { "cluster": "rig", "user": "user" } }],
        "current-context": "rig",
    })
}
