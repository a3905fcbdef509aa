package com.example.panel;

import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;
import org.springframework.security.config.Customizer;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.core.userdetails.User;
import org.springframework.security.provisioning.InMemoryUserDetailsManager;
import org.springframework.security.web.SecurityFilterChain;

/** A panel in small: Spring Security's own form login, its users in memory, and the recipe. */
@SpringBootApplication
public class Panel {

    public static void main(String[] arguments) {
        SpringApplication.run(Panel.class, arguments);
    }

    @Bean
    InMemoryUserDetailsManager users() {
        return new InMemoryUserDetailsManager(
            User.withUsername("1").password("{noop}demo").roles("OWNER").build(),
            User.withUsername("42").password("{noop}demo").roles("AUDITOR", "ADMIN").build(),
            User.withUsername("77").password("{noop}demo").roles("JUNIOR").build());
    }

    @Bean
    SecurityFilterChain security(HttpSecurity http) throws Exception {
        // recipe: spring/security.java
        return http
            .formLogin(Customizer.withDefaults())
            // The test has no page to take the token from.
            .csrf(csrf -> csrf.ignoringRequestMatchers("/login", "/logout"))
            .build();
    }
}
