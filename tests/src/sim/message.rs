//! As much HL7 v2 as a simulated device and a test need, and no more.

/// Value of a field, components included, of the first segment of that name.
pub fn field(message: &[u8], segment: &str, number: usize) -> Option<String> {
    let line = message
        .split(|byte| matches!(byte, b'\r' | b'\n'))
        .find(|line| {
            line.starts_with(segment.as_bytes()) && line.get(segment.len()) == Some(&b'|')
        })?;
    // MSH-1 is the separator itself, so that MSH counts one less.
    let index = if segment == "MSH" {
        number.checked_sub(1)?
    } else {
        number
    };
    let value = line.split(|byte| *byte == b'|').nth(index)?;
    (!value.is_empty()).then(|| String::from_utf8_lossy(value).into_owned())
}

/// Builds the acknowledgement of a message with this code, about this control id.
pub fn ack(message: &[u8], code: &str, about: &str) -> Vec<u8> {
    let of = |number| field(message, "MSH", number).unwrap_or_default();
    let kind = of(9);
    let trigger = kind.split('^').nth(1).unwrap_or_default();
    let text = if code.ends_with('A') {
        ""
    } else {
        "|The simulator was told to refuse this"
    };
    format!(
        "MSH|^~\\&|{}|{}|{}|{}|{}||ACK^{trigger}|A{about}|P|{}\rMSA|{code}|{about}{text}\r",
        of(5),
        of(6),
        of(3),
        of(4),
        of(7),
        of(12),
    )
    .into_bytes()
}

/// An order to a laboratory instrument, for a patient who does not exist.
#[derive(Clone, Debug)]
pub struct Order {
    control_id: String,
    placer: String,
    note: String,
}

impl Order {
    /// An order of its own: control id and placer number are both new.
    pub fn new(name: impl std::fmt::Display) -> Self {
        Self {
            control_id: format!("C{name}"),
            placer: format!("P{name}"),
            note: String::new(),
        }
    }

    /// Makes it belong to this placer order number (ORC-2, the order key).
    #[must_use]
    pub fn of(self, placer: impl std::fmt::Display) -> Self {
        Self {
            placer: placer.to_string(),
            ..self
        }
    }

    #[must_use]
    pub fn noting(self, note: impl Into<String>) -> Self {
        Self {
            note: note.into(),
            ..self
        }
    }

    pub fn control_id(&self) -> &str {
        &self.control_id
    }

    pub fn text(&self) -> String {
        let Self {
            control_id,
            placer,
            note,
        } = self;
        format!(
            "MSH|^~\\&|EHR|WARD3|LAB|WARD3|20260301081500||OML^O21^OML_O21|{control_id}|P|2.5.1\r\
             PID|1||880001^^^WARD3^MR||DOE^JANE||19700101|F\r\
             ORC|NW|{placer}\r\
             OBR|1|{placer}||GLU^Glucose^L\r\
             NTE|1||{note}\r"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_as_the_standard_counts_them() {
        let text = Order::new(7).of("P1").text();
        let check = |segment, number, value: &str| {
            assert_eq!(
                field(text.as_bytes(), segment, number).as_deref(),
                Some(value)
            );
        };
        check("MSH", 3, "EHR");
        check("MSH", 10, "C7");
        check("MSH", 12, "2.5.1");
        check("ORC", 2, "P1");
        check("OBR", 4, "GLU^Glucose^L");
        assert_eq!(field(text.as_bytes(), "ZZZ", 1), None);
        assert_eq!(field(b"MSH", "MSH", 10), None);
    }

    #[test]
    fn an_acknowledgement_goes_back_to_the_sender_and_names_the_message() {
        let ack = ack(Order::new(7).text().as_bytes(), "AE", "C7");
        assert_eq!(field(&ack, "MSH", 5).as_deref(), Some("EHR"));
        assert_eq!(field(&ack, "MSH", 9).as_deref(), Some("ACK^O21"));
        assert_eq!(field(&ack, "MSA", 1).as_deref(), Some("AE"));
        assert_eq!(field(&ack, "MSA", 2).as_deref(), Some("C7"));
    }
}
