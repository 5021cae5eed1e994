//! A frame's colour: by package, the same in every session, the runtime's own in grey.

/// One of the stylesheet's flame colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hue {
    /// Below [`Hue::BUCKETS`].
    Package(u8),
    Runtime,
}

impl Hue {
    pub const BUCKETS: u8 = 8;
    pub const COUNT: usize = Self::BUCKETS as usize + 1;

    pub const fn index(self) -> usize {
        match self {
            Self::Package(bucket) => bucket as usize,
            Self::Runtime => Self::BUCKETS as usize,
        }
    }
}

pub fn hue_of(function: &str) -> Hue {
    let package = package_of(function);
    let is_runtime = ["runtime", "internal/runtime"].iter().any(|own| {
        package
            .strip_prefix(own)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    if is_runtime {
        return Hue::Runtime;
    }
    // FNV-1a, 32 bits, with a multiplication at the end: its own low bits repeat for short names.
    let hash = package.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let mixed = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    Hue::Package(((mixed ^ (mixed >> 13)) % u32::from(Hue::BUCKETS)) as u8)
}

/// The import path of a Go function, as its symbol is written: up to the first point after the last slash,
/// type arguments aside. Dots in the last element are escaped by Go's linker as `%2e`.
pub fn package_of(function: &str) -> &str {
    let start = last_element(function);
    match function[start..].find('.') {
        Some(point) => &function[..start + point],
        None => function,
    }
}

/// Where the last element of the import path begins. Type arguments hold slashes of their own.
pub(super) fn last_element(function: &str) -> usize {
    let plain = function
        .find('[')
        .map_or(function, |bracket| &function[..bracket]);
    plain.rfind('/').map_or(0, |slash| slash + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages() {
        for (function, expect) in [
            ("main.main", "main"),
            ("net/http.(*conn).serve", "net/http"),
            ("github.com/a/b%2ev2.F", "github.com/a/b%2ev2"),
            ("gopkg.in/yaml%2ev3.Unmarshal", "gopkg.in/yaml%2ev3"),
            ("slices.Grow[github.com/a/b.T]", "slices"),
            ("example.com/x/set.Map[go.shape.int]", "example.com/x/set"),
            ("0x4a5f10", "0x4a5f10"),
            ("", ""),
        ] {
            assert_eq!(package_of(function), expect, "{function}");
        }
    }

    #[test]
    fn same_package_same_hue_and_runtime_is_muted() {
        assert_eq!(
            hue_of("net/http.(*conn).serve"),
            hue_of("net/http.ListenAndServe")
        );
        for own in [
            "runtime.mallocgc",
            "runtime/debug.Stack",
            "internal/runtime/maps.newarray",
        ] {
            assert_eq!(hue_of(own), Hue::Runtime, "{own}");
        }
        assert_ne!(hue_of("runtimeutil.F"), Hue::Runtime);
    }

    #[test]
    fn common_packages_spread_over_the_buckets() {
        let packages = [
            "main.f",
            "net/http.f",
            "encoding/json.f",
            "bytes.f",
            "strings.f",
            "fmt.f",
            "bufio.f",
            "reflect.f",
            "io.f",
            "os.f",
            "sync.f",
            "time.f",
            "context.f",
            "strconv.f",
            "sort.f",
            "regexp.f",
            "net/url.f",
            "crypto/tls.f",
            "database/sql.f",
            "compress/gzip.f",
            "log/slog.f",
            "maps.f",
            "slices.f",
            "google.golang.org/grpc.f",
            "google.golang.org/protobuf/proto.f",
            "go.uber.org/zap.f",
        ];
        let mut used = [0; Hue::COUNT];
        for package in packages {
            used[hue_of(package).index()] += 1;
        }
        assert!(
            used[..8].iter().all(|&count| (1..=7).contains(&count)),
            "{used:?}"
        );
    }
}
