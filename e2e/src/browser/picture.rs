//! Screenshots: each page, light and dark, on a wide and on a narrow screen, kept as test output.

use super::Browser;
use crate::wait::until;
use serde_json::json;
use std::path::PathBuf;

/// CSS pixels, width and height: a laptop and a phone.
pub const SIZES: [(u32, u32); 2] = [(1440, 900), (390, 844)];

const THEMES: [&str; 2] = ["dark", "light"];

/// A blank page has one colour, a page without its data perhaps thirty.
const LEAST_COLOURS: u64 = 100;

/// One picture, as it was checked.
#[derive(Debug, Clone)]
pub struct Shot {
    pub path: PathBuf,
    pub width: u64,
    pub height: u64,
    pub colours: u64,
}

impl Browser {
    /// The size of the page itself, without the window's frame.
    pub fn size(&self, (width, height): (u32, u32)) {
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            &json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false }),
        );
    }

    /// What the operating system would ask for: `dark` or `light`.
    pub fn theme(&self, theme: &str) {
        let feature = json!({ "name": "prefers-color-scheme", "value": theme });
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": [feature] }));
    }

    /// Takes pictures of what is open in each size and theme, and checks that nothing is blank or sticks
    /// out sideways. The browser is left wide and dark.
    ///
    /// # Panics
    /// When something is.
    pub fn shots(&self, name: &str) {
        let mut shots = Vec::new();
        for size in SIZES {
            self.size(size);
            self.must_fit(name, size);
            for theme in THEMES {
                self.theme(theme);
                self.settle();
                shots.push(self.shot(&format!("{name}-{theme}-{}", size.0)));
            }
        }
        self.theme(THEMES[0]);
        self.size(SIZES[0]);
        for shot in shots {
            assert!(shot.colours >= LEAST_COLOURS, "blank? {shot:?}");
        }
    }

    /// Takes one picture of what is open.
    pub fn shot(&self, name: &str) -> Shot {
        let folder = output_folder();
        std::fs::create_dir_all(&folder).expect("a folder for screenshots");
        let path = folder.join(format!("{name}.png"));
        let base64 = self.must("GET", "screenshot", &serde_json::Value::Null);
        let png = data_encoding::BASE64
            .decode(base64.as_str().unwrap_or_default().as_bytes())
            .expect("a picture in base64");
        std::fs::write(&path, png).expect("write the picture");
        // The browser reads it back, so that no decoder of our own is needed.
        let measure = "
            const bytes = Uint8Array.from(atob(args[0]), (char) => char.charCodeAt(0));
            const image = await createImageBitmap(new Blob([bytes], { type: 'image/png' }));
            const canvas = new OffscreenCanvas(image.width, image.height);
            const context = canvas.getContext('2d', { willReadFrequently: true });
            context.drawImage(image, 0, 0);
            const pixels = new Uint32Array(context.getImageData(0, 0, image.width, image.height).data.buffer);
            return [image.width, image.height, new Set(pixels).size];";
        let measured = self.script_async(measure, &[base64]).unwrap();
        let number = |index: usize| {
            measured[index]
                .as_u64()
                .unwrap_or_else(|| panic!("{name}: {measured}"))
        };
        Shot {
            path,
            width: number(0),
            height: number(1),
            colours: number(2),
        }
    }

    /// Lets the canvases be drawn in the new size and colours.
    fn settle(&self) {
        let frames = "for (let i = 0; i < 4; i++) await new Promise((next) => requestAnimationFrame(next));";
        self.script_async(frames, &[]).unwrap();
    }

    /// Nothing sticks out sideways, and only the page's own parts scroll: the window has no bar beside theirs.
    fn must_fit(&self, name: &str, (width, height): (u32, u32)) {
        until("the page to fit its window", || {
            let of = "const of = document.scrollingElement; return [of.scrollWidth, of.scrollHeight]";
            let there = self.script(of, &[])?;
            let fits =
                |index: usize, room: u32| there[index].as_u64().is_some_and(|there| there <= room.into());
            (fits(0, width) && fits(1, height))
                .then_some(())
                .ok_or_else(|| format!("{name}: {there} in {width} by {height}; {}", self.outside()))
        });
    }

    /// Some elements that reach out of the window.
    fn outside(&self) -> String {
        let body = "
            const out = (element) => {
                const { right, bottom } = element.getBoundingClientRect();
                const floats = getComputedStyle(element).position === 'absolute';
                return right > innerWidth + 0.5 || (floats && bottom > innerHeight + 0.5);
            };
            return [...document.body.querySelectorAll('*')].filter(out).slice(0, 8)
                .map((element) => element.tagName + '.' + element.className);";
        self.script(body, &[]).unwrap_or_default().to_string()
    }
}

/// `HEAPTIDE_TEST_OUTPUT`, or beside the test binaries.
fn output_folder() -> PathBuf {
    let folder = std::env::var_os("HEAPTIDE_TEST_OUTPUT").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| {
        let own = std::env::current_exe().expect("the test binary's path");
        own.parent().unwrap_or(&own).join("../test-output")
    });
    folder.join("screenshots")
}
