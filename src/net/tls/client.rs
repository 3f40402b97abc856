//! The client's side of TLS: the roots that it trusts, and its own certificate.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, WantsVerifier,
};

use super::{PairFiles, TlsError, provider, read_certificates, read_pair, unusable};

/// The TLS configuration of a client that trusts the system's roots and the certificates in `ca_file`.
/// It sends the certificate in `pair` to a server that asks for one.
///
/// The files are read once. The caller sets ALPN.
///
/// # Errors
/// When `ca_file` cannot be read or has no certificate that can be a root, or when `pair` cannot be
/// used. Roots of the system that cannot be read are left out.
pub(crate) fn client_config(
    ca_file: Option<&Path>,
    pair: Option<&PairFiles>,
) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        for certificate in read_certificates(path)? {
            roots
                .add(certificate)
                .map_err(|source| TlsError::Root { path: path.to_owned(), source })?;
        }
    }
    let builder = builder()?.with_root_certificates(roots);
    let Some(files) = pair else { return Ok(builder.with_no_client_auth()) };
    let (chain, key) = read_pair(files)?;
    builder.with_client_auth_cert(chain, key).map_err(|error| unusable(files, error))
}

/// The TLS configuration of a client that trusts every server. For development only.
pub(in crate::net) fn insecure() -> Result<ClientConfig, TlsError> {
    let verifier = Arc::new(AcceptAnyServer(provider()));
    Ok(builder()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, WantsVerifier>, TlsError> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Provider)
}

/// Accepts every certificate. It still checks that the server has the key of its certificate.
#[derive(Debug)]
struct AcceptAnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::ServerConfig;
    use rustls::server::WebPkiClientVerifier;
    use tokio::io::duplex;
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;
    use crate::net::testing::{TestCertificate, in_time};

    /// A server with the certificate in `files`. It asks clients for a certificate that this one signed.
    fn asking(files: &PairFiles) -> TlsAcceptor {
        let mut roots = RootCertStore::empty();
        roots.add(read_certificates(&files.certificate).unwrap().remove(0)).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider());
        let (chain, key) = read_pair(files).unwrap();
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(chain, key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    #[tokio::test]
    async fn the_client_certificate_is_sent() {
        let dir = tempfile::tempdir().unwrap();
        let files = TestCertificate::new("localhost").write(dir.path());
        for (pair, is_let_in) in [(Some(&files), true), (None, false)] {
            let config = client_config(Some(&files.certificate), pair).unwrap();
            let (ours, theirs) = duplex(1 << 16);
            let name = "localhost".try_into().unwrap();
            let connector = TlsConnector::from(Arc::new(config));
            let connecting = tokio::spawn(connector.connect(name, ours));
            let accepted = in_time(asking(&files).accept(theirs)).await;
            let shown = accepted.map(|tls| tls.get_ref().1.peer_certificates().is_some());
            assert_eq!(shown.ok(), is_let_in.then_some(true));
            drop(connecting);
        }
    }

    #[test]
    fn files_that_are_not_a_pair_are_refused() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [one, other] = dirs.each_ref().map(|dir| TestCertificate::new("a").write(dir.path()));
        let check = |certificate: &Path, key: &Path, expected: &str| {
            let pair = PairFiles { certificate: certificate.to_owned(), key: key.to_owned() };
            let error = client_config(None, Some(&pair)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}\nexpected {expected}");
        };
        check(&one.certificate, &other.key, "does not belong to the first certificate in");
        check(&one.key, &one.key, "has no certificate");
        check(&one.certificate, &one.certificate, "has no private key");
        check(Path::new("/nowhere"), &one.key, "cannot read /nowhere: ");
    }
}
