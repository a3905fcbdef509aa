//! `settings!` and `choices!`: a table, and a choice between words, in one place each.

/// Defines tables of the configuration: see the [module](mod@crate::config) for an example.
///
/// Per key: its doc comment (the reference's text), `name: Type`, `= default` as TOML (without one
/// the key is required, unless the type is an `Option`, a map or a table), and `where RULE`, a
/// [`Rule`](crate::config::Rule). A table that is `checked by` a function has it called with the
/// values and [`Checks`](crate::config::Checks) after they were read.
#[macro_export]
macro_rules! settings {
    ($(
        $(#[doc = $about:literal])*
        $vis:vis struct $Table:ident $(checked by $check:path)? {
            $(
                $(#[doc = $doc:literal])*
                $key:ident : $Type:ty $(= $default:tt)? $(where $rule:expr)?
            ),* $(,)?
        }
    )*) => { $(
        $(#[doc = $about])*
        #[derive(Debug, Clone, PartialEq)]
        $vis struct $Table {
            $(
                $(#[doc = $doc])*
                pub $key: $Type,
            )*
        }

        impl $Table {
            fn fields() -> Vec<$crate::config::Field> {
                vec![ $(
                    $crate::config::Field::new::<$Type>(
                        stringify!($key),
                        concat!($($doc, "\n"),*),
                        &[$(stringify!($default))?],
                        &[$($crate::config::rule_of::<$Type, _>(&$rule))?],
                    ),
                )* ]
            }
        }

        impl $crate::config::Setting for $Table {
            type Ruled = Self;
            const MERGES: bool = true;

            fn shape() -> $crate::config::Shape {
                $crate::config::Shape::Table { doc: concat!($($about, "\n"),*), fields: Self::fields() }
            }

            fn read(at: &$crate::config::At<'_>, mistakes: &mut $crate::config::Mistakes) -> Self {
                let table = $crate::config::Table::open(at, &Self::fields(), mistakes);
                let values = Self { $(
                    $key: table.field::<$Type>(
                        stringify!($key),
                        &[$(stringify!($default))?],
                        &[$($crate::config::rule_of::<$Type, _>(&$rule))?],
                        mistakes,
                    ),
                )* };
                $( $check(&values, &mut table.checks(mistakes)); )?
                values
            }

            fn stand_in() -> Self {
                Self { $( $key: <$Type as $crate::config::Setting>::stand_in(), )* }
            }

            fn ruled(&self) -> Option<&Self> {
                Some(self)
            }

            fn differences(&self, other: &Self, key: &str, keys: &mut Vec<String>) {
                let prefix = if key.is_empty() { String::new() } else { format!("{key}.") };
                $(
                    let key = format!("{prefix}{}", stringify!($key));
                    <$Type as $crate::config::Setting>::differences(&self.$key, &other.$key, &key, keys);
                )*
            }
        }
    )* };
}

/// Defines a choice between words: a setting that is one of them.
///
/// ```
/// ask2do_token_runtime::choices! {
///     /// How the gateway learns who is logged in.
///     pub enum SessionMode {
///         /// The panel is asked.
///         Forward = "forward",
///         /// A JWT says so.
///         Jwt = "jwt",
///     }
/// }
/// assert_eq!(SessionMode::Jwt.as_str(), "jwt");
/// ```
#[macro_export]
macro_rules! choices {
    (
        $(#[doc = $about:literal])*
        $vis:vis enum $Choice:ident {
            $( $(#[doc = $doc:literal])* $Variant:ident = $word:literal ),+ $(,)?
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $vis enum $Choice {
            $( $(#[doc = $doc])* $Variant, )+
        }

        impl $Choice {
            /// The word that a configuration has for it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $( Self::$Variant => $word, )+
                }
            }
        }

        impl $crate::config::Value for $Choice {
            const TYPE: &'static str = "choice";

            fn allowed() -> String {
                [$( concat!('"', $word, '"') ),+].join(" or ")
            }

            fn parse(given: &$crate::config::Given<'_>) -> Option<Self> {
                match given.text()? {
                    $( $word => Some(Self::$Variant), )+
                    _ => None,
                }
            }

            fn stand_in() -> Self {
                [$( Self::$Variant ),+][0]
            }
        }
    };
}
