//! The keys for proxies and TLS.

use crate::cloud::dial::{Kind, ProxyRule};
use crate::secret::Secret;
use crate::tls::{Pin, Proof, Trust};

use super::*;

fn cloud(keys: &str) -> Site {
    Site::new(&format!("{AGENT}{keys}"), &[])
}

fn secure(keys: &str) -> Site {
    let file = format!("name = \"chem\"\nurl = \"mllps://chem.lab:2576\"\n[tls]\n{keys}");
    Site::new(AGENT, &[("chem.toml", &file)])
}

fn check_cloud(keys: &str, expected: &str) {
    let problems = cloud(keys).problems();
    assert_eq!(problems, [format!("wardpost.toml:5:{expected}")], "{keys}");
}

fn check_tls(keys: &str, expected: &str) {
    let problems = secure(keys).problems();
    assert_eq!(
        problems,
        [format!("devices.d/chem.toml:4:{expected}")],
        "{keys}"
    );
}

#[test]
fn a_proxy_is_a_url_or_none_or_left_to_the_environment() {
    let way = |keys| cloud(keys).load().cloud.way;
    assert_eq!(way("").proxy, ProxyRule::Environment);
    assert_eq!(way("proxy = \"\"").proxy, ProxyRule::Environment);
    assert_eq!(way("proxy = \"none\"").proxy, ProxyRule::None);
    let named = way("proxy = \"socks5://ward@10.0.0.1\"\nproxy_password_file = \"pw\"");
    let ProxyRule::Through(proxy) = named.proxy else {
        panic!("{:?}", named.proxy)
    };
    assert_eq!((proxy.kind, proxy.port), (Kind::Socks5, 1080));
    assert_eq!(proxy.user.as_deref(), Some("ward"));
    assert!(matches!(named.proxy_password, Secret::File(file) if file.ends_with("pw")));
    let kept = Secret::Credential("proxy-password".into());
    assert_eq!(way("").proxy_password, kept);
}

#[test]
fn what_is_wrong_with_a_proxy_is_told() {
    check_cloud(
        "proxy = \"ftp://proxy\"",
        "9: [cloud] proxy: names a kind of proxy that the agent does not speak; write http://, https:// or socks5:// before it",
    );
    check_cloud(
        "proxy = \"http://proxy:3128/x.pac\"",
        "9: [cloud] proxy: has a path or a query, which the url of a proxy has not; write it like \"http://proxy.example:3128\", or \"none\"",
    );
    check_cloud(
        "proxy = \"http://u:geheim@proxy\"",
        "9: [cloud] proxy: a password must not stand in this file; remove it here, change it at the proxy, and give the new one as the systemd credential proxy-password, or in a file that proxy_password_file names",
    );
    let problems = cloud("proxy_password = \"geheim\"").problems();
    assert!(problems[0].contains("a password must not stand in this file"));
    let problems = cloud("proxy = \"http://p\"\nproxy_password_file = \"client-key\"").problems();
    assert!(
        problems
            .iter()
            .any(|told| told.contains("a password alone says nothing"))
    );
}

#[test]
fn a_client_certificate_has_its_key_in_a_file_or_a_credential() {
    let site = cloud("client_certificate = \"c.pem\"");
    let identity = site.load().cloud.way.identity.unwrap();
    assert!(identity.certificate.ends_with("c.pem"));
    assert_eq!(identity.key, Secret::Credential("client-key".into()));
    let site = cloud("client_certificate = \"c.pem\"\nclient_key_file = \"c.key\"");
    let identity = site.load().cloud.way.identity.unwrap();
    assert_eq!(identity.key, Secret::File(site.folder.path().join("c.key")));
    let problems = cloud("client_key_file = \"wardpost.toml\"").problems();
    assert_eq!(
        problems,
        [
            "wardpost.toml:5:19: [cloud] client_key_file: a key is of no use without its certificate; name the certificate in client_certificate"
        ]
    );
    let problems = cloud("client_key = \"x\"").problems();
    assert!(problems[0].contains("a private key must not stand in this file"));
}

#[test]
fn an_mllps_device_is_trusted_by_the_system_for_its_own_name_where_nothing_is_said() {
    let file = "name = \"chem\"\nurl = \"mllps://10.0.0.7:2576\"\n";
    let site = Site::new(AGENT, &[("chem.toml", file)]);
    assert_eq!(site.problems(), Vec::<String>::new());
    let tls = site.load().devices.remove(0).tls.unwrap();
    assert_eq!(tls.proof, Proof::Signed(Trust::System));
    assert_eq!(tls.name.to_str(), "10.0.0.7");
    assert_eq!(tls.identity, None);
    assert!(device("").tls.is_none());
}

#[test]
fn a_device_file_says_how_its_device_proves_who_it_is() {
    let print = format!("sha256:{}", "0a".repeat(32));
    let site = secure(&format!(
        "pin = [\"{print}\", \"chem.toml\"]\nserver_name = \"other.lab\"\nclient_certificate = \"chem.toml\"\n\
         client_key_credential = \"chem-key\"\n"
    ));
    assert_eq!(site.problems(), Vec::<String>::new());
    let tls = site.load().devices.remove(0).tls.unwrap();
    let file = site.paths().devices.join("chem.toml");
    let pins = vec![Pin::Print(print.parse().unwrap()), Pin::File(file.clone())];
    assert_eq!(tls.proof, Proof::Pinned(pins));
    assert_eq!(tls.name.to_str(), "other.lab");
    let identity = tls.identity.unwrap();
    assert_eq!(
        (identity.certificate, identity.key),
        (file, Secret::Credential("chem-key".into()))
    );
    let both = secure(&format!("pin = \"{print}\"\ntrust = \"system\""));
    let tls = both.load().devices.remove(0).tls.unwrap();
    assert!(matches!(tls.proof, Proof::Both(Trust::System, _)));
}

#[test]
fn what_is_wrong_with_a_tls_table_is_told() {
    check_tls(
        "pin = \"sha256:0a\"",
        "7: [tls] pin: is not a fingerprint; a fingerprint is sha256: and 64 hexadecimal digits, with or without colons \
         between them; openssl x509 -noout -fingerprint -sha256 shows it",
    );
    check_tls(
        "server_name = \"a b\"",
        "15: [tls] server_name: is not a name of a server; write a name or an address that is in the device's certificate",
    );
    check_tls(
        "client_key_credential = \"../x\"",
        "25: [tls] client_key_credential: is not the name of a credential; write the name alone: letters, digits, hyphens",
    );
    check_tls(
        "trust = \"system+\"",
        "9: [tls] trust: names no file after system+; write \"system+/etc/wardpost/site-ca.pem\"",
    );
    check_tls(
        "pin = \"gone.pem\"",
        "7: warning: [tls] pin: the file cannot be found; create it, or correct the path",
    );
    check_tls(
        "trusted = \"x\"",
        "1: [tls] trusted: unknown key; did you mean trust?",
    );
    let plain = format!("{CHEM}[tls]\ntrust = \"system\"\n");
    let site = Site::new(AGENT, &[("chem.toml", &plain)]);
    assert_eq!(
        site.problems(),
        [
            "devices.d/chem.toml:3:1: tls: is for devices whose url asks for TLS; write mllps:// in url, or remove [tls]"
        ]
    );
}
