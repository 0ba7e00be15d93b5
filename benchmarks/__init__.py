"""Speed: what training, acting, collecting and starting take, beside what the machine can do."""
