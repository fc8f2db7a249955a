//! QR codes as pictures, for whoever has a phone at hand.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use png::{BitDepth, ColorType, Encoder};
use qrcode::{Color, QrCode};

/// How many pixels a module is wide.
const SCALE: usize = 6;
/// How many modules stay white around the code (ISO/IEC 18004).
const QUIET: usize = 4;

/// A text as a QR code: a PNG in a `data:` URI (RFC 2397), which a browser shows as an image.
///
/// # Errors
///
/// When the text is longer than a QR code can hold.
pub fn png_data_uri(text: &str) -> anyhow::Result<String> {
    let code = QrCode::new(text)?;
    let (modules, colors) = (code.width(), code.to_colors());
    let side = (modules + 2 * QUIET) * SCALE;
    let is_dark = |pixel: (usize, usize)| {
        let module = |at: usize| (at / SCALE).checked_sub(QUIET).filter(|module| *module < modules);
        match (module(pixel.0), module(pixel.1)) {
            (Some(x), Some(y)) => colors[y * modules + x] == Color::Dark,
            _ => false,
        }
    };
    let pixels = (0..side).flat_map(|y| (0..side).map(move |x| (x, y)));
    let pixels: Vec<u8> = pixels.map(|pixel| if is_dark(pixel) { 0 } else { u8::MAX }).collect();
    let side = u32::try_from(side)?;
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, side, side);
    encoder.set_color(ColorType::Grayscale);
    encoder.set_depth(BitDepth::Eight);
    encoder.write_header()?.write_image_data(&pixels)?;
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_shows_the_code() {
        let uri = png_data_uri("otpauth://totp/Mercato").unwrap();
        let file = STANDARD.decode(uri.strip_prefix("data:image/png;base64,").unwrap()).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let code = QrCode::new("otpauth://totp/Mercato").unwrap();
        let side = usize::try_from(info.width).unwrap();
        assert_eq!((info.width, side), (info.height, (code.width() + 2 * QUIET) * SCALE));
        let middle = |module: usize| (module + QUIET) * SCALE + SCALE / 2;
        for y in 0..code.width() {
            for x in 0..code.width() {
                let dark = pixels[middle(y) * side + middle(x)] == 0;
                assert_eq!(dark, code[(x, y)] == Color::Dark, "{x} {y}");
            }
        }
        assert!(pixels[..side].iter().all(|pixel| *pixel == u8::MAX), "a white border");
        assert!(png_data_uri(&"x".repeat(5000)).is_err());
    }
}
