"""Vedette watches one camera with an INT8 TFLite detector and publishes over MQTT what it detects.

This module stays empty of imports: the capture child and the probe import it too, and must stay small.
"""

__version__ = "0.1.0"
