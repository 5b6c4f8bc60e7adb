"""Pure metrics on arrays: retrieval, classification, clustering, calibration, resampling."""
