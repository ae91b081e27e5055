//! Listeners: `NAME://host:port`.

use std::fmt;

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name, in capitals.
    pub name: String,
    /// A name or an address, without the brackets of IPv6; empty is every address of the machine.
    pub host: String,
    /// 0 is any free port.
    pub port: u16,
}

impl Endpoint {
    /// The listeners in a list with commas.
    ///
    /// # Errors
    /// What is wrong with the first that is wrong.
    pub fn list(text: &str) -> Result<Vec<Self>, String> {
        let mut all: Vec<Self> = vec![];
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let endpoint = Self::parse(item)?;
            if all.iter().any(|other| other.name == endpoint.name) {
                return Err(format!("the listener name {} stands twice, each needs its own", endpoint.name));
            }
            all.push(endpoint);
        }
        Ok(all)
    }

    /// The place of the administrative listener, `host:port`; none where the text is empty.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn admin(text: &str) -> Result<Option<Self>, String> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let wrong = |_| format!("{text:?} is no place to listen at, which is written host:port");
        Self::parse(&format!("ADMIN://{text}")).map(Some).map_err(wrong)
    }

    fn parse(item: &str) -> Result<Self, String> {
        let form = || format!("{item:?} is no listener, which is written NAME://host:port (or NAME://:port)");
        let (name, place) = item.split_once("://").ok_or_else(form)?;
        let (host, port) = place.rsplit_once(':').ok_or_else(form)?;
        let port = port.parse().map_err(|_| form())?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if name.is_empty() || (bare.is_none() && host.contains(':')) {
            return Err(form());
        }
        let name = name.to_ascii_uppercase();
        if matches!(name.as_str(), "SSL" | "SASL_PLAINTEXT" | "SASL_SSL") {
            return Err(format!("{item:?} asks for {name}, but only PLAINTEXT listeners are served for now"));
        }
        Ok(Self { name, host: bare.unwrap_or(host).to_owned(), port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "{}://[{}]:{}", self.name, self.host, self.port);
        }
        write!(f, "{}://{}:{}", self.name, self.host, self.port)
    }
}

/// Refuses a listener whose protocol (of `NAME:PROTOCOL,...`) is not served: who asked for encryption is not to have none.
pub(crate) fn check_protocols(listen: &[Endpoint], protocols: &str) -> Result<(), String> {
    for (name, protocol) in protocols.split(',').filter_map(|item| item.split_once(':')) {
        let (name, protocol) = (name.trim(), protocol.trim());
        let meant = listen.iter().find(|one| one.name.eq_ignore_ascii_case(name));
        if let Some(one) = meant.filter(|_| !protocol.eq_ignore_ascii_case("PLAINTEXT")) {
            return Err(format!(
                "{one} would speak {protocol}, but only PLAINTEXT listeners are served for now"
            ));
        }
    }
    Ok(())
}

/// For each listener, what clients are told.
pub(crate) fn advertise(listen: &[Endpoint], advertised: &[Endpoint]) -> Result<Vec<Endpoint>, String> {
    if let Some(stray) = advertised.iter().find(|one| listen.iter().all(|other| other.name != one.name)) {
        return Err(format!("{stray} names no listener, listeners has none of that name"));
    }
    if let Some(vague) =
        advertised.iter().find(|one| one.port == 0 || matches!(one.host.as_str(), "" | "0.0.0.0" | "::"))
    {
        return Err(format!("clients cannot connect to {vague}, it needs a host and a port"));
    }
    let of = |one: &Endpoint| advertised.iter().find(|other| other.name == one.name).unwrap_or(one).clone();
    Ok(listen.iter().map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(name: &str, host: &str, port: u16) -> Endpoint {
        Endpoint { name: name.into(), host: host.into(), port }
    }

    #[test]
    fn listeners_are_read_as_kafka_reads_them() {
        let all = Endpoint::list("plaintext://:9092, INSIDE://[::1]:0").unwrap();
        assert_eq!(all, [endpoint("PLAINTEXT", "", 9092), endpoint("INSIDE", "::1", 0)]);
        assert_eq!(all[1].to_string(), "INSIDE://[::1]:0");
        for bad in ["9092", "localhost:9092", "PLAINTEXT://host", "A://::1:5", "A://h:70000", "SSL://h:1"] {
            assert!(Endpoint::list(bad).is_err(), "{bad}");
        }
        assert!(Endpoint::list("A://:1,a://:2").is_err());
    }

    #[test]
    fn metrics_are_served_at_a_plain_place() {
        assert_eq!(Endpoint::admin(" "), Ok(None));
        assert_eq!(Endpoint::admin("[::1]:9644"), Ok(Some(endpoint("ADMIN", "::1", 9644))));
        for bad in ["9644", "http://localhost:9644", "localhost"] {
            assert!(Endpoint::admin(bad).unwrap_err().contains("host:port"), "{bad}");
        }
    }

    #[test]
    fn what_is_advertised_can_be_reached() {
        let listen = [endpoint("A", "0.0.0.0", 1), endpoint("B", "", 2)];
        let told = [endpoint("B", "example.org", 20)];
        assert_eq!(advertise(&listen, &told).unwrap(), [listen[0].clone(), told[0].clone()]);
        assert!(advertise(&listen, &[endpoint("C", "x", 1)]).is_err());
        assert!(advertise(&listen, &[endpoint("A", "0.0.0.0", 1)]).is_err());
    }
}
