//! Content codings: what bodies are compressed by, both ways.
//!
//! The layers of tower-http do not fit. The one for answers turns a mutation that was made into a 406 when the client
//! accepts none of its codings, keeps a strong `ETag`, and sends everything in chunks; the one for requests answers in
//! a shape of its own. Bodies are whole here anyway.
//!
//! Compressing what is secret beside what an attacker chooses tells its length (BREACH), if the attacker can make a
//! victim's browser ask. That takes credentials that browsers send by themselves, like cookies. There are none: tokens
//! and keys are sent by scripts, which another origin's page does not have.

use std::io::{self, Read, Write};

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, VARY};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use brotli::enc::{BrotliEncoderParams, StandardAlloc};
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState};
use flate2::Compression;
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use flate2::write::GzEncoder;
use moka::sync::Cache;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// What is smaller fits one packet, compressed or not. In bytes.
const WORTH_IT: u64 = 1024;

/// What is larger takes so long that others on the same thread would notice. In bytes.
const LONG: usize = 64 * 1024;

/// How hard brotli and gzip try: answers are made for one reader each, so that processor time counts for more than the
/// last tenth of the length.
const BROTLI_QUALITY: i32 = 2;
const GZIP_LEVEL: u32 = 1;

/// How far back brotli looks, as a power of two: 256 KiB, which is what it needs to allocate for long bodies.
const BROTLI_WINDOW: i32 = 18;

/// How many bodies are unpacked, and how many long ones packed, at the same time. Each takes a core, and up to 16 MiB for what
/// brotli looks back at.
const AT_ONCE: usize = 4;

/// How much of a body is unpacked at a time, in bytes.
const PIECE: usize = 16 * 1024;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// `gzip`
    Gzip,
    /// `br`
    Brotli,
    /// `deflate`, which is zlib. It is understood, but not spoken.
    Deflate,
}

impl Coding {
    /// What the headers of a request say of its body, if it is compressed; an error if it is so in a way unknown here.
    pub fn of_request(headers: &HeaderMap) -> Result<Option<Self>, ()> {
        let mut values = headers.get_all(CONTENT_ENCODING).iter();
        let Some(first) = values.next() else {
            return Ok(None);
        };
        let once = first.to_str().ok().filter(|_| values.next().is_none()).ok_or(())?;
        match once.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(None),
            "gzip" | "x-gzip" => Ok(Some(Self::Gzip)),
            "br" => Ok(Some(Self::Brotli)),
            "deflate" => Ok(Some(Self::Deflate)),
            _ => Err(()),
        }
    }

    /// The coding that a client wants most, if it wants one more than none at all (RFC 9110, section 12.5.3).
    pub fn accepted(headers: &HeaderMap) -> Option<Self> {
        let brotli = weight(headers, "br").unwrap_or(0.0);
        let gzip = weight(headers, "gzip").unwrap_or(0.0);
        let identity = named_weight(headers, "identity").unwrap_or(0.0);
        let (coding, best) = if brotli >= gzip { (Self::Brotli, brotli) } else { (Self::Gzip, gzip) };
        (best > 0.0 && best >= identity).then_some(coding)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Deflate => "deflate",
        }
    }

    /// Unpacks a body, of which at most `limit` bytes and one more are made: then it is too large.
    pub async fn unpack(self, body: Bytes, limit: usize) -> io::Result<Vec<u8>> {
        static PLACES: Semaphore = Semaphore::const_new(AT_ONCE);

        let place = PLACES.acquire().await.map_err(io::Error::other)?;
        let unpacked = spawn_blocking(move || {
            let _until_it_is_done = place;
            self.unpack_here(&body, limit)
        });
        unpacked.await?
    }

    fn unpack_here(self, mut body: &[u8], limit: usize) -> io::Result<Vec<u8>> {
        let most = limit.saturating_add(1);
        let mut unpacked = Vec::new();
        let take = u64::try_from(most).unwrap_or(u64::MAX);
        match self {
            Self::Gzip => MultiGzDecoder::new(&mut body).take(take).read_to_end(&mut unpacked)?,
            Self::Deflate => ZlibDecoder::new(&mut body).take(take).read_to_end(&mut unpacked)?,
            Self::Brotli => return unpack_brotli(body, most),
        };
        // What is too large was not read to its end.
        if unpacked.len() <= limit && !body.is_empty() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(unpacked)
    }

    async fn pack(self, body: Bytes) -> io::Result<Vec<u8>> {
        static PLACES: Semaphore = Semaphore::const_new(AT_ONCE);

        if body.len() > LONG {
            let place = PLACES.acquire().await.map_err(io::Error::other)?;
            let packed = spawn_blocking(move || {
                let _until_it_is_done = place;
                self.pack_here(&body)
            });
            return packed.await?;
        }
        self.pack_here(&body)
    }

    fn pack_here(self, mut body: &[u8]) -> io::Result<Vec<u8>> {
        let mut packed = Vec::with_capacity(body.len() / 4);
        match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(packed, Compression::new(GZIP_LEVEL));
                encoder.write_all(body)?;
                encoder.finish()
            }
            Self::Brotli => {
                let params = BrotliEncoderParams {
                    quality: BROTLI_QUALITY,
                    lgwin: BROTLI_WINDOW,
                    size_hint: body.len(),
                    ..BrotliEncoderParams::default()
                };
                brotli::BrotliCompress(&mut body, &mut packed, &params)?;
                Ok(packed)
            }
            Self::Deflate => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// Unpacks at most so many bytes.
///
/// The crate's own reader would not do: it takes a window of up to a gigabyte, which is no part of the coding (RFC 7932)
/// and is allocated for a body of a few bytes, and says nothing of what follows the end.
fn unpack_brotli(body: &[u8], most: usize) -> io::Result<Vec<u8>> {
    let alloc = StandardAlloc::default;
    let mut state = BrotliState::new_strict(alloc(), alloc(), alloc());
    let (mut left, mut read, mut made) = (body.len(), 0, 0);
    let mut piece = vec![0; PIECE];
    let mut unpacked = Vec::new();
    loop {
        let (mut room, mut end) = (piece.len(), 0);
        let step =
            BrotliDecompressStream(&mut left, &mut read, body, &mut room, &mut end, &mut piece, &mut made, &mut state);
        unpacked.extend_from_slice(&piece[..end]);
        match step {
            _ if unpacked.len() >= most => {
                unpacked.truncate(most);
                return Ok(unpacked);
            }
            BrotliResult::NeedsMoreOutput => {}
            BrotliResult::ResultSuccess if left == 0 => return Ok(unpacked),
            BrotliResult::ResultSuccess | BrotliResult::NeedsMoreInput | BrotliResult::ResultFailure => {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }
}

/// The weight that the headers give a coding, by its name or by `*`.
fn weight(headers: &HeaderMap, coding: &str) -> Option<f32> {
    named_weight(headers, coding).or_else(|| named_weight(headers, "*"))
}

/// The weight that the headers give to this name. One that cannot be read counts as refused.
fn named_weight(headers: &HeaderMap, name: &str) -> Option<f32> {
    let ranges = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    ranges.flat_map(|value| value.split(',')).find_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        parts.next().filter(|coding| coding.eq_ignore_ascii_case(name))?;
        let weight = parts.find_map(|parameter| parameter.strip_prefix("q="));
        Some(weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0)))
    })
}

/// Says of an answer that it is the same for everybody, as long as the server runs.
#[derive(Clone, Copy, Debug)]
pub struct Fixed;

/// Compresses answers, and the fixed ones once.
pub struct Encoder {
    /// By path.
    fixed: Cache<(String, Coding), Bytes>,
}

/// How many fixed answers are kept, in any coding.
const MAX_FIXED: u64 = 64;

impl Default for Encoder {
    fn default() -> Self {
        Self { fixed: Cache::new(MAX_FIXED) }
    }
}

impl Encoder {
    /// The body in this coding.
    async fn packed(&self, coding: Coding, path: &str, is_fixed: bool, plain: &Bytes) -> io::Result<Bytes> {
        if !is_fixed {
            return coding.pack(plain.clone()).await.map(Bytes::from);
        }
        let key = (path.to_owned(), coding);
        if let Some(packed) = self.fixed.get(&key) {
            return Ok(packed);
        }
        let packed = Bytes::from(coding.pack(plain.clone()).await?);
        self.fixed.insert(key, packed.clone());
        Ok(packed)
    }

    /// Compresses the answer to a request for this path, if that makes it smaller and the client can undo it.
    pub async fn encode(&self, accepted: Option<Coding>, path: &str, mut response: Response) -> Response {
        if !is_worth_it(&response) {
            return response;
        }
        response.headers_mut().append(VARY, HeaderValue::from_name(ACCEPT_ENCODING));
        let Some(coding) = accepted else {
            return response;
        };
        if response.body().is_end_stream() {
            // The answer to a HEAD. How long that of a GET would be is not known.
            response.headers_mut().remove(CONTENT_LENGTH);
            return response;
        }
        let (mut parts, body) = response.into_parts();
        let Ok(plain) = to_bytes(body, usize::MAX).await else {
            // Bodies of a known size are in memory, and do not fail.
            return Response::from_parts(parts, Body::empty());
        };
        let is_fixed = parts.extensions.get::<Fixed>().is_some();
        let Ok(packed) = self.packed(coding, path, is_fixed, &plain).await else {
            return Response::from_parts(parts, plain.into());
        };
        parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        parts.headers.insert(CONTENT_LENGTH, packed.len().into());
        weaken(&mut parts.headers);
        Response::from_parts(parts, packed.into())
    }
}

/// Whether an answer is text of some length that is not compressed yet. Of streams, the length is not known.
fn is_worth_it(response: &Response) -> bool {
    let headers = response.headers();
    let announced = || headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
    let length = response.body().size_hint().exact().filter(|length| *length > 0).or_else(announced);
    length.is_some_and(|length: u64| length >= WORTH_IT)
        && !headers.contains_key(CONTENT_ENCODING)
        && !headers.contains_key(CONTENT_RANGE)
        && headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(is_text)
}

fn is_text(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    media_type.starts_with("text/")
        || ["/json", "+json", "/javascript", "+xml"].into_iter().any(|end| media_type.ends_with(end))
}

/// A strong `ETag` names these very bytes, of which there are now several kinds.
fn weaken(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(ETAG).and_then(|tag| tag.to_str().ok()).filter(|tag| !tag.starts_with("W/")) else {
        return;
    };
    if let Ok(weak) = HeaderValue::from_str(&format!("W/{tag}")) {
        headers.insert(ETAG, weak);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODINGS: [Coding; 3] = [Coding::Gzip, Coding::Brotli, Coding::Deflate];

    fn packed(coding: Coding, plain: &[u8]) -> Vec<u8> {
        if coding == Coding::Deflate {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(plain).unwrap();
            return encoder.finish().unwrap();
        }
        coding.pack_here(plain).unwrap()
    }

    #[test]
    fn what_was_packed_is_unpacked_up_to_the_limit() {
        let plain: Vec<u8> = (0..100_000_u32).flat_map(|n| (n / 7).to_string().into_bytes()).collect();
        for coding in CODINGS {
            let small = packed(coding, &plain);
            assert!(small.len() * 2 < plain.len(), "{coding:?}");
            assert!(coding.unpack_here(&small, plain.len()).unwrap() == plain, "{coding:?}");
            assert_eq!(coding.unpack_here(&small, 1000).unwrap().len(), 1001, "{coding:?}");
        }
    }

    #[test]
    fn what_is_broken_or_goes_on_is_refused() {
        for coding in CODINGS {
            let small = packed(coding, b"{\"query\": \"{ viewer { id } }\"}");
            for end in 0..small.len() {
                assert!(coding.unpack_here(&small[..end], 1000).is_err(), "{coding:?} cut at {end}");
            }
            assert!(coding.unpack_here(&[&small[..], b"more"].concat(), 1000).is_err(), "{coding:?}");
            assert!(coding.unpack_here(b"{\"query\": 1}", 1000).is_err(), "{coding:?}");
        }
        // Several members are one body (RFC 1952).
        let members = [packed(Coding::Gzip, b"one "), packed(Coding::Gzip, b"two")].concat();
        assert_eq!(Coding::Gzip.unpack_here(&members, 1000).unwrap(), b"one two");
    }

    /// Of this kind, a few bytes can make the reader allocate a gigabyte.
    #[test]
    fn brotli_looks_back_no_further_than_it_may() {
        let with = |large_window| {
            let params = BrotliEncoderParams { lgwin: 26, large_window, ..BrotliEncoderParams::default() };
            let mut packed = Vec::new();
            brotli::BrotliCompress(&mut &b"plain"[..], &mut packed, &params).unwrap();
            Coding::Brotli.unpack_here(&packed, 1000)
        };
        assert_eq!(with(false).unwrap(), b"plain");
        assert!(with(true).is_err());
    }

    #[test]
    fn the_client_chooses() {
        for (accept, chosen) in [
            ("", None),
            ("gzip", Some(Coding::Gzip)),
            ("gzip, deflate, br, zstd", Some(Coding::Brotli)),
            ("br;q=0.5, gzip;q=0.8", Some(Coding::Gzip)),
            ("GZIP;q=0.1", Some(Coding::Gzip)),
            ("*", Some(Coding::Brotli)),
            ("br;q=0, *", Some(Coding::Gzip)),
            ("br;q=0, gzip;q=0, *", None),
            ("gzip;q=0.5, identity", None),
            ("identity;q=0", None),
            ("deflate", None),
            ("gzip;q=much", None),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(accept))]);
            assert_eq!(Coding::accepted(&headers), chosen, "{accept}");
        }
        assert_eq!(Coding::accepted(&HeaderMap::new()), None);
    }

    #[tokio::test]
    async fn only_texts_of_some_length_are_packed_and_lose_their_strong_tag() {
        let answer = |content_type: &'static str, length: usize| {
            let headers = [(CONTENT_TYPE, content_type), (ETAG, "\"tag\"")];
            axum::response::IntoResponse::into_response((headers, "x".repeat(length)))
        };
        let packed = Encoder::default().encode(Some(Coding::Gzip), "/", answer("application/json", 2000)).await;
        let header = |response: &Response, name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let told = ["content-encoding", "etag", "vary"].map(|name| header(&packed, name));
        assert_eq!(told, ["gzip", "W/\"tag\"", "accept-encoding"]);
        let length = header(&packed, "content-length");
        assert_eq!(to_bytes(packed.into_body(), 2000).await.unwrap().len().to_string(), length);
        let plain = Encoder::default().encode(None, "/", answer("application/json", 2000)).await;
        assert_eq!(
            ["content-encoding", "etag", "vary"].map(|name| header(&plain, name))[..],
            ["", "\"tag\"", "accept-encoding"]
        );
        for other in [answer("application/json", 1023), answer("image/png", 2000)] {
            let other = Encoder::default().encode(Some(Coding::Gzip), "/", other).await;
            assert_eq!(["content-encoding", "vary"].map(|name| header(&other, name)), ["", ""]);
        }
    }
}
