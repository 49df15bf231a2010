"""Is this model right, on this device?"""
