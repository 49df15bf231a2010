"""The cloud fallback: a server looks at a frame where no model on the device can."""
