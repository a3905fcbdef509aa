//! gRPC's status codes, under their names of the specification.

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A gRPC status code other than OK.
        ///
        /// Source: <https://grpc.github.io/grpc/core/md_doc_statuscodes.html>.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// The code's name, such as `PERMISSION_DENIED`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// OK in the place of an error says nothing, which is what UNKNOWN means.
            pub(crate) fn from_tonic(code: tonic::Code) -> Self {
                match code {
                    tonic::Code::Ok => Self::Unknown,
                    $(tonic::Code::$variant => Self::$variant,)*
                }
            }
        }
    };
}

codes! {
    /// The call was cancelled.
    Cancelled = "CANCELLED",
    /// No code fits, or none was given.
    Unknown = "UNKNOWN",
    /// The request is wrong, whatever the state of the service.
    InvalidArgument = "INVALID_ARGUMENT",
    /// Time ran out.
    DeadlineExceeded = "DEADLINE_EXCEEDED",
    /// Something that was asked for does not exist.
    NotFound = "NOT_FOUND",
    /// Something that was to be made exists.
    AlreadyExists = "ALREADY_EXISTS",
    /// The caller may not do this.
    PermissionDenied = "PERMISSION_DENIED",
    /// A quota or a resource is used up.
    ResourceExhausted = "RESOURCE_EXHAUSTED",
    /// The system is not in the state that this needs.
    FailedPrecondition = "FAILED_PRECONDITION",
    /// The call was aborted, typically by a conflict.
    Aborted = "ABORTED",
    /// Something lies outside of its valid range.
    OutOfRange = "OUT_OF_RANGE",
    /// The service has no such method.
    Unimplemented = "UNIMPLEMENTED",
    /// Something that must hold does not.
    Internal = "INTERNAL",
    /// The service, or what it needs, cannot be reached for now.
    Unavailable = "UNAVAILABLE",
    /// Data was lost for good.
    DataLoss = "DATA_LOSS",
    /// The caller did not prove who it is.
    Unauthenticated = "UNAUTHENTICATED",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
