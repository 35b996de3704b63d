//! The words of the domain: each an enum, its texts written once.

pub mod job_state;
pub mod judgement;
pub mod ledger_kind;
pub mod object_kind;
pub mod status;
pub mod verb;

/// Makes an enum of words: its variants, each with the text that tables, payloads and messages have for it. After `besides` come variants
/// that are no single word: their texts are made and read elsewhere.
macro_rules! words {
    ($(#[$attribute:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$attribute])*
        pub enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $name {
            /// All of them, in the order in which they are declared.
            pub const ALL: [Self; [$($text),+].len()] = [$(Self::$variant),+];

            /// The text.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// Reads the text.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|word| word.as_str() == text)
            }
        }
    };
    ($(#[$attribute:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ } besides { $($besides:tt)+ }) => {
        $(#[$attribute])*
        pub enum $name {
            $($(#[$doc])* $variant,)+
            $($besides)+
        }

        impl $name {
            /// Those that are a single word, in the order in which they are declared.
            pub const WORDS: &'static [Self] = &[$(Self::$variant,)+];

            /// The text, where it is a single word.
            const fn word(&self) -> Option<&'static str> {
                match self {
                    $(Self::$variant => Some($text),)+
                    #[allow(unreachable_patterns, reason = "the others")]
                    _ => None,
                }
            }

            fn parse_word(text: &str) -> Option<Self> {
                Self::WORDS.iter().find(|word| word.word() == Some(text)).cloned()
            }
        }
    };
}
pub(crate) use words;
