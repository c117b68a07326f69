//! Authorities made for a test, and what they issue.

use std::fs;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_RSA_SHA256, RevokedCertParams, SerialNumber, SignatureAlgorithm, date_time_ymd,
};

use crate::stage::Directory;

/// An authority of certificates.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// Makes one that nobody vouches for, and writes its certificate to a file.
    pub(super) fn new(directory: &Directory, file: &str) -> Self {
        let made = CertifiedIssuer::self_signed(authority(file), key(&PKCS_ECDSA_P256_SHA256));
        let made = Self(made.unwrap());
        fs::write(directory.file(file), made.pem()).unwrap();
        made
    }

    /// Makes one below it.
    pub(super) fn below(&self, name: &str) -> Self {
        let key = key(&PKCS_ECDSA_P256_SHA256);
        Self(CertifiedIssuer::signed_by(authority(name), key, &self.0).unwrap())
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Issues a certificate of a gateway for these names, into `FILE.pem` and `FILE.key`.
    pub(super) fn serve(&self, directory: &Directory, file: &str, names: &[&str]) {
        self.issue(
            directory,
            file,
            params(names, ExtendedKeyUsagePurpose::ServerAuth),
        );
    }

    /// The same with a key of RSA.
    pub(super) fn serve_rsa(&self, directory: &Directory, file: &str, names: &[&str]) {
        let params = params(names, ExtendedKeyUsagePurpose::ServerAuth);
        self.write(directory, file, (params, &PKCS_RSA_SHA256), "");
    }

    /// Issues a certificate of a client.
    pub(super) fn client(&self, directory: &Directory, file: &str) {
        self.issue(
            directory,
            file,
            params(&[file], ExtendedKeyUsagePurpose::ClientAuth),
        );
    }

    /// Issues a certificate from these parameters.
    pub(super) fn issue(&self, directory: &Directory, file: &str, params: CertificateParams) {
        self.write(directory, file, (params, &PKCS_ECDSA_P256_SHA256), "");
    }

    /// Issues a certificate of a client that shows these others with it.
    pub(super) fn client_with(&self, directory: &Directory, file: &str, chain: &str) {
        let params = params(&[file], ExtendedKeyUsagePurpose::ClientAuth);
        self.write(directory, file, (params, &PKCS_ECDSA_P256_SHA256), chain);
    }

    /// Writes a list of what it has revoked, which is in force until a year.
    pub(super) fn revoke(&self, directory: &Directory, file: &str, (serial, until): (u64, i32)) {
        let began = date_time_ymd(2020, 1, 1);
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: began,
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: began,
            next_update: date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.0).unwrap();
        fs::write(directory.file(file), list.pem().unwrap()).unwrap();
    }

    fn write(
        &self,
        directory: &Directory,
        file: &str,
        (params, kind): (CertificateParams, &'static SignatureAlgorithm),
        chain: &str,
    ) {
        let key = key(kind);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let pem = certificate.pem() + chain;
        fs::write(directory.file(&format!("{file}.pem")), pem).unwrap();
        fs::write(directory.file(&format!("{file}.key")), key.serialize_pem()).unwrap();
    }
}

/// What a certificate for this use says.
pub(super) fn params(names: &[&str], usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let common = names[0].clone();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, common);
    params.extended_key_usages = vec![usage];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn key(kind: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(kind).unwrap()
}
