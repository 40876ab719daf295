"""What is measured: real pieces held out, trained models, and the songs that they make."""
